import assert from 'node:assert/strict'
import { KvCache, RING_SLACK } from '../../node/client/kv-cache.js'
import type { ModelConfig } from '../../model-tools/index.js'

const WINDOW = 100
const attention = { heads: 2, kvHeads: 2, headDim: 4, ropeTheta: 10_000, rotaryFactor: 1, valueFromKey: false }
const config: ModelConfig = {
  architecture: 'gemma4', vocabSize: 10, hiddenSize: 32, layerTypes: ['sliding', 'full'], attention: { sliding: attention, full: attention }, slidingWindow: WINDOW,
  denseIntermediateSize: 32, experts: 4, topK: 2, expertIntermediateSize: 32, rmsNormEps: 1e-6, embeddingScale: 1, logitSoftcap: 0, maxPositions: 1000,
  bosTokenId: 0, eosTokenIds: [1], sampling: { temperature: 1, topK: 0, topP: 1 }
}

/** Keys [kvHeads, tokens, headDim] that say which position and head they are of. */
function keysOf (start: number, tokens: number): Float32Array {
  const data = new Float32Array(2 * tokens * 4)
  for (let head = 0; head < 2; head++) for (let t = 0; t < tokens; t++) data.fill((start + t) * 10 + head, (head * tokens + t) * 4, (head * tokens + t + 1) * 4)
  return data
}

function append (cache: KvCache, tokens: number): void {
  cache.reserve(tokens)
  for (const layer of [0, 1]) cache.layer(layer).write(keysOf(cache.length, tokens), keysOf(cache.length, tokens), cache.length, tokens)
  cache.commit(tokens)
}

/** The positions that query `length + t` sees in the cache, read through the mask, by head. */
function visible (cache: KvCache, layer: number, t: number, tokens: number): number[] {
  const { cache: mask } = cache.masks(config.layerTypes[layer], tokens)
  const capacity = mask.dims[1]
  const keys = cache.layer(layer).keyTensor.data as Float32Array
  assert.equal(keys.length, 2 * capacity * 4, 'mask and cache have the same capacity')
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

describe('KvCache', () => {
  for (const chunks of [[1], [128], [64, 64, 1], Array<number>(40).fill(7), [...Array<number>(4).fill(128), 3]]) {
    const total = chunks.reduce((a, b) => a + b, 0)
    it(`shows each query its window after ${total} positions in chunks of ${chunks[0]}`, () => {
      const cache = new KvCache(config)
      for (const chunk of chunks) append(cache, chunk)
      assert.equal(cache.length, total)
      for (const [t, tokens] of [[0, 1], [0, 5], [4, 5]]) {
        cache.reserve(tokens)
        assert.deepEqual(visible(cache, 0, t, tokens), range(Math.max(0, total + t - WINDOW + 1), total), 'sliding')
        assert.deepEqual(visible(cache, 1, t, tokens), range(0, total), 'full')
      }
    })
  }

  it('masks new tokens causally and by the window', () => {
    const cache = new KvCache(config)
    const tokens = 120
    cache.reserve(tokens)
    for (const [type, window] of [['sliding', WINDOW], ['full', Infinity]] as const) {
      const fresh = cache.masks(type, tokens).fresh.data as Float32Array
      for (let query = 0; query < tokens; query++) {
        for (let key = 0; key < tokens; key++) {
          const open = key <= query && query - key < window
          assert.equal(fresh[query * tokens + key], open ? 0 : -Infinity, `${type} ${query} ${key}`)
        }
      }
    }
  })

  it('keeps the window after a roll-back of the ring', () => {
    const cache = new KvCache(config)
    for (let i = 0; i < 5; i++) append(cache, 100)
    cache.truncate(500 - RING_SLACK)
    cache.reserve(1)
    assert.deepEqual(visible(cache, 0, 0, 1), range(500 - RING_SLACK - WINDOW + 1, 500 - RING_SLACK))
    append(cache, 10)
    cache.reserve(1)
    assert.deepEqual(visible(cache, 0, 0, 1), range(382 - WINDOW + 1, 382))
  })

  it('refuses a roll-back past what the ring holds, also in two steps', () => {
    const cache = new KvCache(config)
    for (let i = 0; i < 5; i++) append(cache, 100)
    assert.throws(() => { cache.truncate(500 - RING_SLACK - 1) }, RangeError)
    cache.truncate(400)
    assert.throws(() => { cache.truncate(300) }, RangeError)
  })

  it('refuses to grow past the context and chunks past the slack', () => {
    const cache = new KvCache(config)
    assert.throws(() => { cache.reserve(RING_SLACK + 1) }, RangeError)
    for (let i = 0; i < 10; i++) append(cache, 100)
    assert.throws(() => { cache.reserve(1) }, /1001 positions exceed the context of 1000/)
  })
})
