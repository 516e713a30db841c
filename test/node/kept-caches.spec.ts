import assert from 'node:assert/strict'
import { KeptCaches } from '../../node/client/kept-caches.js'
import { KvCache, RING_SLACK } from '../../node/client/kv-cache.js'
import { type GenerateInit, type Generation, SwarmClient } from '../../node/index.js'
import type { ModelConfig } from '../../model-tools/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { reference } from '../fixtures/reference.js'

const attention = { heads: 1, kvHeads: 1, headDim: 4, ropeTheta: 10_000, rotaryFactor: 1, valueFromKey: false }
const config: ModelConfig = {
  architecture: 'gemma4', vocabSize: 10, hiddenSize: 32, layerTypes: ['sliding', 'full'], attention: { sliding: attention, full: attention }, slidingWindow: 100,
  denseIntermediateSize: 32, experts: 4, topK: 2, expertIntermediateSize: 32, rmsNormEps: 1e-6, embeddingScale: 1, logitSoftcap: 0, maxPositions: 1000,
  bosTokenId: 0, eosTokenIds: [1], sampling: { temperature: 1, topK: 0, topP: 1 }
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)

async function cacheOf (positions: number): Promise<KvCache> {
  const cache = new KvCache(config)
  const claim = cache.claim(positions)
  for (const layer of [0, 1]) {
    await cache.inputs(claim, layer)
    cache.write(claim, layer, { keys: new Float32Array(positions * 4), values: new Float32Array(positions * 4) })
  }
  await cache.commit(claim)
  return cache
}

describe('kept KV caches', () => {
  it('are handed out once, cut to what is common, and leave a token to compute', async () => {
    const kept = new KeptCaches(Infinity)
    const cache = await cacheOf(40)
    kept.put(range(0, 41), cache)
    assert.equal(kept.take([...range(0, 30), 7, 7]), cache)
    assert.equal(cache.length, 30)
    assert.equal(kept.take(range(0, 32)), undefined)
    kept.put(range(0, 30), cache)
    assert.equal(kept.take(range(0, 30)), cache)
    assert.equal(cache.length, 29)
  })

  it('stay where little is common, and where a ring has lost what is needed', async () => {
    const kept = new KeptCaches(Infinity)
    kept.put(range(1000, 1100), await cacheOf(100))
    assert.equal(kept.take([...range(1000, 1040), ...range(0, 60)]), undefined, 'a common beginning')
    const long = await cacheOf(500)
    kept.put(range(0, 500), long)
    assert.equal(kept.take([...range(0, 500 - RING_SLACK - 1), 7, 7]), undefined, 'lost')
    assert.equal(kept.take([...range(0, 500 - RING_SLACK), 7, 7]), long)
    assert.equal(kept.size, 1)
  })

  it('are as many as there is room for, the latest', async () => {
    const { bytes } = await cacheOf(100)
    const kept = new KeptCaches(2 * bytes)
    const caches = [await cacheOf(100), await cacheOf(100), await cacheOf(100)]
    for (const [i, cache] of caches.entries()) kept.put(range(1000 * i, 1000 * i + 100), cache)
    assert.equal(kept.size, 2)
    kept.shrink(1)
    assert.equal(kept.take(range(1000, 1100)), undefined)
    assert.equal(kept.take(range(2000, 2101)), caches[2])
  })
})

describe('a prompt that begins as an earlier text did, f32', function () {
  this.timeout(120_000)
  const clients: SwarmClient[] = []
  const ids = reference.long.ids.slice(0, 60)
  const more = reference.long.ids.slice(60, 80)
  const options: GenerateInit = { maxTokens: 30, sampling: { temperature: 0 }, stopTokenIds: [], draft: 'lookup', draftTokens: 4, logProbabilities: 0 }

  after(async () => { for (const client of clients) await client.close() })

  async function open (init: { reusePrefixes?: boolean, maxSequences?: number } = {}): Promise<SwarmClient> {
    const client = await SwarmClient.open({ model: await demoBundle('f32'), localLayers: 'all', threads: 1, ...init })
    clients.push(client)
    return client
  }

  async function run (client: SwarmClient, prompt: number[]): Promise<{ generation: Generation, logs: number[] }> {
    const logs: number[] = []
    for await (const event of client.generate(prompt, options)) {
      if (event.type === 'token') logs.push(event.logProbabilities!.logProbability)
      if (event.type === 'done') return { generation: event.generation, logs }
    }
    throw new Error('no end')
  }

  it('is read from where it differs, and goes on as one that is read anew, after rejected drafts and after an abort', async () => {
    const [fresh, reusing] = [await open({ reusePrefixes: false }), await open()]
    const first = await run(reusing, ids)
    assert.equal(first.generation.cachedTokens, 0)
    assert.ok(first.generation.speculation.drafted > first.generation.speculation.accepted, 'drafts were rejected')
    const second = [...ids, ...first.generation.tokens, ...more]
    const [anew, reused] = [await run(fresh, second), await run(reusing, second)]
    assert.equal(anew.generation.cachedTokens, 0)
    assert.ok(reused.generation.cachedTokens >= ids.length + first.generation.tokens.length - 1)
    assert.deepEqual(reused.generation.tokens, anew.generation.tokens)
    assert.ok(reused.logs.every((log, i) => Math.abs(log - anew.logs[i]) < 1e-4))

    const abort = new AbortController()
    const reason = new Error('enough')
    await assert.rejects(async () => {
      for await (const event of reusing.generate([...second, ...more], { ...options, signal: abort.signal })) if (event.type === 'token') abort.abort(reason)
    }, reason)
    const after = [...second, ...more, 5, 6, 7]
    const [anewAfter, reusedAfter] = [await run(fresh, after), await run(reusing, after)]
    assert.ok(reusedAfter.generation.cachedTokens >= second.length)
    assert.deepEqual(reusedAfter.generation.tokens, anewAfter.generation.tokens)
  })

  it('is read anew where its cache had to go for a sequence that runs', async () => {
    const client = await open({ maxSequences: 1 })
    await run(client, ids)
    assert.equal((await run(client, ids)).generation.cachedTokens, ids.length - 1)
    await run(client, more)
    assert.equal((await run(client, ids)).generation.cachedTokens, 0)
  })
})
