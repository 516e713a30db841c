import assert from 'node:assert/strict'
import { AttentionClient, type WantedRows } from '../../node/client/attention-client.js'
import type { KvCache } from '../../node/client/kv-cache.js'
import { LocalExperts } from '../../node/client/local-experts.js'
import { argmax } from '../../node/client/sampler.js'
import { ExpertHost } from '../../node/host/expert-host.js'
import { Bundle } from '../../model-tools/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { Recorder } from '../fixtures/recorder.js'
import { LOGIT_TOLERANCE, reference } from '../fixtures/reference.js'

describe('the attention client, all local, f32', function () {
  this.timeout(120_000)
  let host: ExpertHost
  let client: AttentionClient
  let recorder: Recorder
  const lap = async (ids: number[], cache: KvCache, wanted: WantedRows): Promise<Float32Array> => (await client.lap(ids, cache, { wanted })).logits

  before(async () => {
    const bundle = await Bundle.open(await demoBundle('f32'))
    host = await ExpertHost.load({ bundle, blocks: bundle.blocks, threads: 2 })
    recorder = new Recorder(new LocalExperts(host))
    client = await AttentionClient.load({ bundle, dispatcher: recorder, threads: 1 })
  })

  after(async () => {
    await client.close()
    await host.stop()
  })

  for (const [i, { ids, greedy_ids: greedyIds, top10 }] of reference.prompts.entries()) {
    it(`continues prompt ${i} greedily as the reference does`, async () => {
      const cache = client.newCache()
      let logits = await lap(ids, cache, 'last')
      for (const { id, logit } of top10) assert.ok(Math.abs(logits[id] - logit) < LOGIT_TOLERANCE, `logit of ${id}: ${logits[id]} instead of ${logit}`)
      const tokens: number[] = []
      while (tokens.length < greedyIds.length) {
        tokens.push(argmax(logits))
        logits = await lap([tokens[tokens.length - 1]], cache, 'last')
      }
      assert.deepEqual(tokens, greedyIds)
    })
  }

  it('chooses the experts and weights of the reference in every layer', async () => {
    const { ids, layers, argmax_per_position: best, final_logits_first8_last_position: first8 } = reference.trace
    recorder.batches.length = 0
    const logits = await lap(ids, client.newCache(), 'all')
    const V = client.config.vocabSize
    assert.deepEqual(ids.map((_, t) => argmax(logits.subarray(t * V, (t + 1) * V))), best)
    first8.forEach((logit, k) => { assert.ok(Math.abs(logits[(ids.length - 1) * V + k] - logit) < LOGIT_TOLERANCE) })
    for (const { layer, experts_per_position: experts, expert_weights_per_position: weights } of layers) {
      const batch = recorder.batches[layer]
      assert.equal(batch.layer, layer)
      assert.deepEqual([...batch.experts], experts.flat(), `experts of layer ${layer}`)
      weights.flat().forEach((weight, k) => { assert.ok(Math.abs(batch.weights[k] - weight) < 1e-4, `layer ${layer}, assignment ${k}: ${batch.weights[k]} instead of ${weight}`) })
    }
  })

  for (const chunk of [1, 50, 128]) {
    it(`reads a text longer than the sliding window in chunks of ${chunk}`, async () => {
      const { ids, nll_per_token: nll, argmax_per_position: best } = reference.long
      const cache = client.newCache()
      const V = client.config.vocabSize
      for (let at = 0; at < ids.length; at += chunk) {
        const part = ids.slice(at, at + chunk)
        const logits = await lap(part, cache, 'all')
        part.forEach((_, t) => {
          const row = logits.subarray(t * V, (t + 1) * V)
          assert.equal(argmax(row), best[at + t], `argmax at ${at + t}`)
          if (at + t + 1 < ids.length) assert.ok(Math.abs(lossOf(row, ids[at + t + 1]) - nll[at + t]) < LOGIT_TOLERANCE, `loss at ${at + t}`)
        })
      }
    })
  }

  it('gives the same after tokens were taken back', async () => {
    const { ids } = reference.long
    const straight = client.newCache()
    await lap(ids.slice(0, 128), straight, 'none')
    const expected = await lap(ids.slice(128, 160), straight, 'last')
    const cache = client.newCache()
    await lap(ids.slice(0, 128), cache, 'none')
    await lap(ids.slice(0, 20), cache, 'none')
    cache.truncate(128)
    assert.deepEqual(await lap(ids.slice(128, 160), cache, 'last'), expected)
  })

  it('names a token id outside of the vocabulary', async () => {
    await assert.rejects(lap([2, 4096], client.newCache(), 'last'), { name: 'ModelError', code: 'out-of-range', message: /4096.*0 to 4095/ })
  })
})

function lossOf (logits: Float32Array, id: number): number {
  const most = logits.reduce((a, b) => Math.max(a, b))
  return Math.log(logits.reduce((sum, z) => sum + Math.exp(z - most), 0)) + most - logits[id]
}
