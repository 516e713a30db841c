import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import type { Claim } from '../../node/client/claim.js'
import { KvCache, RING_SLACK } from '../../node/client/kv-cache.js'
import type { KeysAndValues } from '../../node/client/layer-cache.js'
import type { ModelConfig } from '../../model-tools/index.js'

const WINDOW = 100
const attention = { heads: 2, kvHeads: 2, headDim: 4, ropeTheta: 10_000, rotaryFactor: 1, valueFromKey: false }
const config: ModelConfig = {
  architecture: 'gemma4', vocabSize: 10, hiddenSize: 32, layerTypes: ['sliding', 'full'], attention: { sliding: attention, full: attention }, slidingWindow: WINDOW,
  denseIntermediateSize: 32, experts: 4, topK: 2, expertIntermediateSize: 32, rmsNormEps: 1e-6, embeddingScale: 1, logitSoftcap: 0, maxPositions: 1000,
  bosTokenId: 0, eosTokenIds: [1], sampling: { temperature: 1, topK: 0, topP: 1 }
}
const LAYERS = [0, 1]

/** Keys [kvHeads, tokens, headDim] that say which position and head they are of, and values that are twice those. */
function freshOf ({ start, tokens }: Claim): KeysAndValues {
  const keys = new Float32Array(2 * tokens * 4)
  for (let head = 0; head < 2; head++) for (let t = 0; t < tokens; t++) keys.fill((start + t) * 10 + head, (head * tokens + t) * 4, (head * tokens + t + 1) * 4)
  return { keys, values: keys.map(key => 2 * key) }
}

async function writeLayer (cache: KvCache, claim: Claim, layer: number): Promise<void> {
  await cache.inputs(claim, layer)
  cache.write(claim, layer, freshOf(claim))
}

async function append (cache: KvCache, tokens: number): Promise<void> {
  const claim = cache.claim(tokens)
  for (const layer of LAYERS) await writeLayer(cache, claim, layer)
  await cache.commit(claim)
}

/** The positions that query `t` of a lap sees in the cache, read through the mask, by head. */
async function visible (cache: KvCache, claim: Claim, layer: number, t: number): Promise<number[]> {
  const { cache_mask: mask, cache_k: cached, cache_v: values } = await cache.inputs(claim, layer)
  const capacity = mask.dims[1]
  const keys = cached.data as Float32Array
  assert.equal(keys.length, 2 * capacity * 4, 'mask and cache have the same capacity')
  assert.deepEqual(values.data, keys.map(key => 2 * key))
  const seen: number[] = []
  for (let slot = 0; slot < capacity; slot++) {
    if ((mask.data as Float32Array)[t * capacity + slot] !== 0) continue
    const position = keys[slot * 4] / 10
    assert.equal(keys[(capacity + slot) * 4], position * 10 + 1, `head 1 of position ${position}`)
    seen.push(position)
  }
  return seen.sort((a, b) => a - b)
}

const range = (from: number, to: number): number[] => Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i)
const window = (query: number, to: number): number[] => range(Math.max(0, query - WINDOW + 1), to)

/** What the next `tokens` queries see, as a lap that is then given up. */
async function assertSeen (cache: KvCache, tokens: number): Promise<void> {
  const claim = cache.claim(tokens)
  const { start } = claim
  for (let t = 0; t < tokens; t++) {
    assert.deepEqual(await visible(cache, claim, 0, t), window(start + t, start), 'sliding')
    assert.deepEqual(await visible(cache, claim, 1, t), range(0, start), 'full')
  }
  cache.fail(claim, new Error('given up'))
}

describe('KvCache', () => {
  for (const chunks of [[1], [128], [64, 64, 1], Array<number>(40).fill(7), [...Array<number>(4).fill(128), 3], [400, 300]]) {
    const total = chunks.reduce((a, b) => a + b, 0)
    it(`shows each query its window after ${total} positions in chunks of ${chunks[0]}`, async () => {
      const cache = new KvCache(config)
      for (const chunk of chunks) await append(cache, chunk)
      assert.equal(cache.length, total)
      await assertSeen(cache, 1)
      await assertSeen(cache, 5)
    })
  }

  it('masks new tokens causally and by the window', async () => {
    const cache = new KvCache(config)
    const tokens = 120
    const claim = cache.claim(tokens)
    for (const [layer, reach] of [[0, WINDOW], [1, Infinity]] as const) {
      const fresh = (await cache.inputs(claim, layer)).new_mask.data as Float32Array
      for (let query = 0; query < tokens; query++) {
        for (let key = 0; key < tokens; key++) {
          const open = key <= query && query - key < reach
          assert.equal(fresh[query * tokens + key], open ? 0 : -Infinity, `layer ${layer} ${query} ${key}`)
        }
      }
    }
  })

  it('keeps the window after a roll-back of the ring', async () => {
    const cache = new KvCache(config)
    for (let i = 0; i < 5; i++) await append(cache, 100)
    cache.truncate(500 - RING_SLACK)
    await assertSeen(cache, 1)
    await append(cache, 10)
    await assertSeen(cache, 1)
    assert.equal(cache.length, 382)
  })

  it('refuses a roll-back past what the ring holds, also in two steps', async () => {
    const cache = new KvCache(config)
    for (let i = 0; i < 5; i++) await append(cache, 100)
    assert.throws(() => { cache.truncate(500 - RING_SLACK - 1) }, RangeError)
    cache.truncate(400)
    assert.throws(() => { cache.truncate(300) }, RangeError)
  })

  it('refuses to grow past the context', async () => {
    const cache = new KvCache(config)
    for (let i = 0; i < 10; i++) await append(cache, 100)
    assert.throws(() => cache.claim(1), /1001 positions exceed the context of 1000/)
  })
})

describe('laps in flight in a KvCache', () => {
  it('come to each layer in order, each seeing what the one before has written', async () => {
    const cache = new KvCache(config)
    await append(cache, 290)
    const claims = [cache.claim(30), cache.claim(30), cache.claim(30)]
    const reached: string[] = []
    const laps = claims.map(async (claim, i) => {
      for (const layer of LAYERS) {
        assert.deepEqual(await visible(cache, claim, layer, 0), layer === 0 ? window(claim.start, claim.start) : range(0, claim.start))
        reached.push(`${i} in ${layer}`)
        // The first is the slowest: the others would pass it if they could.
        for (let turn = 0; turn < 10 * (3 - i); turn++) await setImmediate()
        cache.write(claim, layer, freshOf(claim))
      }
      await cache.commit(claim)
    })
    await Promise.all(laps)
    for (const layer of LAYERS) assert.deepEqual(reached.filter(name => name.endsWith(` in ${layer}`)), [`0 in ${layer}`, `1 in ${layer}`, `2 in ${layer}`])
    assert.equal(cache.length, 380)
    await assertSeen(cache, 3)
  })

  it('run a layer while the lap before is at the next one', async () => {
    const cache = new KvCache(config)
    const [first, second] = [cache.claim(5), cache.claim(5)]
    await writeLayer(cache, first, 0)
    await writeLayer(cache, second, 0)
    let passed = false
    const ahead = cache.inputs(second, 1).then(() => { passed = true })
    for (let turn = 0; turn < 5; turn++) await setImmediate()
    assert.equal(passed, false, 'the second lap waits for the first in layer 1')
    await writeLayer(cache, first, 1)
    await ahead
  })

  for (const failing of [0, 1, 2]) {
    it(`leave a full ring as it was when number ${failing} fails, and fail those after it with the same error`, async () => {
      const cache = new KvCache(config)
      for (let i = 0; i < 4; i++) await append(cache, 100)
      // More positions than the slack: what these overwrite, the window needs again.
      const claims = [60, 60, 60].map(tokens => cache.claim(tokens))
      for (const claim of claims) await writeLayer(cache, claim, 0)
      for (const claim of claims.slice(0, failing)) await writeLayer(cache, claim, 1)
      const cause = new Error('the network is gone')
      const waiting = claims.slice(failing + 1).map(async claim => { await cache.commit(claim) })
      cache.fail(claims[failing], cause)
      for (const ended of await Promise.allSettled(waiting)) assert.deepEqual(ended, { status: 'rejected', reason: cause })
      for (const claim of claims.slice(failing + 1)) {
        assert.equal(claim.signal.reason, cause)
        assert.throws(() => { cache.write(claim, 1, freshOf(claim)) }, cause)
      }
      for (const claim of claims.slice(0, failing)) await cache.commit(claim)
      assert.equal(cache.length, 400 + 60 * failing)
      await assertSeen(cache, 3)
      await append(cache, 60)
      await assertSeen(cache, 3)
    })
  }

  it('are not taken back by a roll-back', () => {
    const cache = new KvCache(config)
    cache.claim(5)
    assert.throws(() => { cache.truncate(0) }, /laps are in flight/)
  })
})
