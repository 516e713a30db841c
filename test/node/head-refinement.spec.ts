import assert from 'node:assert/strict'
import { AttentionClient } from '../../node/client/attention-client.js'
import { HeadRefinement, REFINED_LOGITS } from '../../node/client/head-refinement.js'
import { LocalExperts } from '../../node/client/local-experts.js'
import { argmax, mostLikely } from '../../node/client/sampler.js'
import { ExpertHost } from '../../node/host/expert-host.js'
import { Bundle, decodeRows } from '../../model-tools/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { reference } from '../fixtures/reference.js'
import { randomValues } from '../model-tools/fixtures.js'

const TOLERANCE = 1e-4

describe('a head of 4 bits, its best logits computed again', function () {
  this.timeout(120_000)
  let bundle: Bundle
  let host: ExpertHost
  let client: AttentionClient
  /** Of the embedding, decoded: a head of 8 bits in plain arithmetic. */
  let embedding: Float32Array

  before(async () => {
    bundle = await Bundle.open(await demoBundle('u4'))
    host = await ExpertHost.load({ bundle, blocks: bundle.blocks, threads: 2 })
    client = await AttentionClient.load({ bundle, dispatcher: new LocalExperts(host), threads: 1 })
    const entry = bundle.tensor('embedding')
    embedding = decodeRows(entry.format, await bundle.read(entry), bundle.config.hiddenSize, 0, bundle.config.vocabSize)
  })

  after(async () => {
    await client.close()
    await host.stop()
  })

  function exactLogits (state: Float32Array): Float32Array {
    const { hiddenSize: H, vocabSize, logitSoftcap: cap } = bundle.config
    return Float32Array.from({ length: vocabSize }, (_, id) => {
      let sum = 0
      for (let i = 0; i < H; i++) sum += embedding[id * H + i] * state[i]
      return cap > 0 ? cap * Math.tanh(sum / cap) : sum
    })
  }

  it('is a tensor of its own in u4 bundles alone, in the client part', async () => {
    assert.deepEqual([bundle.headTensor, bundle.tensor('head').format, bundle.tensor('embedding').format], ['head', 'u4', 'q8'])
    assert.ok(bundle.clientFiles().includes('client/head.bin'))
    const q8 = await Bundle.open(await demoBundle('q8'))
    assert.equal(q8.headTensor, 'embedding')
    assert.ok(!q8.clientFiles().includes('client/head.bin'))
  })

  it('overwrites the largest logits of each row and no other, of equals the lower ids', () => {
    const config = { vocabSize: 4096, hiddenSize: 192, logitSoftcap: 0 }
    const logits = randomValues(2 * 4096, 1).map(x => Math.round(x * 100) / 10)
    const states = randomValues(2 * 192, 2)
    const refined = logits.slice()
    new HeadRefinement(config, { read: (id, out) => { out.set(embedding.subarray(id * 192, (id + 1) * 192)) } }).refine({ logits: refined, states })
    for (const row of [0, 1]) {
      const before = logits.subarray(row * 4096, (row + 1) * 4096)
      const best = new Set(mostLikely(before, REFINED_LOGITS))
      for (let id = 0; id < 4096; id++) {
        const product = states.subarray(row * 192, (row + 1) * 192).reduce((sum, x, i) => sum + x * embedding[id * 192 + i], 0)
        if (best.has(id)) assert.ok(Math.abs(refined[row * 4096 + id] - product) < TOLERANCE, `row ${row}, ${id}`)
        else assert.equal(refined[row * 4096 + id], before[id], `row ${row}, ${id}`)
      }
    }
  })

  it('gives every row of a lap the best logits that a head of 8 bits has', async () => {
    const { vocabSize: V, hiddenSize: H } = bundle.config
    const ids = reference.long.ids.slice(0, 24)
    const { logits, states } = await client.lap(ids, client.newCache(), { wanted: 'all' })
    ids.forEach((_, row) => {
      const exact = exactLogits(states.subarray(row * H, (row + 1) * H))
      const own = logits.subarray(row * V, (row + 1) * V)
      const equal = own.reduce((count, logit, id) => count + (Math.abs(logit - exact[id]) < TOLERANCE ? 1 : 0), 0)
      assert.ok(equal >= REFINED_LOGITS, `row ${row}: ${equal}`)
      for (const id of mostLikely(exact, 5)) assert.ok(Math.abs(own[id] - exact[id]) < TOLERANCE, `row ${row}, token ${id}: ${own[id]} instead of ${exact[id]}`)
    })
  })

  it('gives the greedy tokens that a head of 8 bits gives', async () => {
    for (const { ids, greedy_ids: greedy } of reference.prompts) {
      const cache = client.newCache()
      let result = await client.lap(ids, cache)
      for (let step = 0; step < greedy.length; step++) {
        const token = argmax(result.logits)
        assert.equal(token, argmax(exactLogits(result.states)), `step ${step}`)
        result = await client.lap([token], cache)
      }
    }
  })
})
