import assert from 'node:assert/strict'
import { AttentionClient, type WantedRows } from '../../node/client/attention-client.js'
import { generate } from '../../node/client/generate.js'
import type { KvCache } from '../../node/client/kv-cache.js'
import { LocalExperts } from '../../node/client/local-experts.js'
import { argmax } from '../../node/client/sampler.js'
import { ExpertHost } from '../../node/host/expert-host.js'
import { convertCheckpoint, openText, synthesize, type Bundle } from '../../model-tools/index.js'
import { Recorder } from '../fixtures/recorder.js'
import { PlainGemma3 } from '../fixtures/plain-gemma3.js'
import { temporaryDirectory } from '../model-tools/fixtures.js'
import { LOGIT_TOLERANCE } from '../fixtures/reference.js'

/** More than the window of 16 and its ring of 144: keys are overwritten. */
const LENGTH = 200
const GREEDY = { temperature: 0, topK: 0, topP: 1, seed: 0 }

describe('Gemma 3, a dense model, all local, f32', function () {
  this.timeout(120_000)
  const temporary = temporaryDirectory()
  const ids = Array.from({ length: LENGTH }, (_, i) => (i * 977 + 500) % 1024)
  let bundle: Bundle
  let host: ExpertHost
  let client: AttentionClient
  let recorder: Recorder
  let plain: PlainGemma3
  const lap = async (part: number[], cache: KvCache, wanted: WantedRows): Promise<Float32Array> => (await client.lap(part, cache, { wanted })).logits

  before(async () => {
    const { path } = await synthesize({ shape: 'gemma-3-tiny', format: 'safetensors', out: temporary.sub('checkpoint'), seed: 1 })
    plain = await PlainGemma3.open(path)
    bundle = await convertCheckpoint({ checkpoint: path, out: temporary.sub('bundle'), quant: 'f32', threads: 1 })
    host = await ExpertHost.load({ bundle, blocks: bundle.blocks, threads: 2 })
    recorder = new Recorder(new LocalExperts(host))
    client = await AttentionClient.load({ bundle, dispatcher: recorder, threads: 1 })
  })

  after(async () => {
    await client.close()
    await host.stop()
  })

  it('has a full layer among sliding ones, and a sliding one at the end', () => {
    assert.deepEqual(client.config.layerTypes, ['sliding', 'sliding', 'sliding', 'sliding', 'sliding', 'full', 'sliding'])
    assert.ok(client.config.slidingWindow < LENGTH)
  })

  for (const chunk of [1, 50, 128]) {
    it(`gives the logits of plain arithmetic, read in chunks of ${chunk}`, async () => {
      const expected = plain.logits(ids)
      const cache = client.newCache()
      const V = client.config.vocabSize
      for (let at = 0; at < LENGTH; at += chunk) {
        const part = ids.slice(at, at + chunk)
        const logits = await lap(part, cache, 'all')
        part.forEach((_, t) => {
          const row = logits.subarray(t * V, (t + 1) * V)
          for (const [id, logit] of row.entries()) {
            assert.ok(Math.abs(logit - expected[at + t][id]) < LOGIT_TOLERANCE, `logit of ${id} at ${at + t}: ${logit} instead of ${expected[at + t][id]}`)
          }
        })
      }
    })
  }

  it('continues a text greedily as plain arithmetic does, prefilled in chunks', async () => {
    const { tokenizer } = await openText(bundle)
    const prompt = ids.slice(0, 100)
    const expected = [...prompt]
    while (expected.length < prompt.length + 12) expected.push(argmax(Float32Array.from(plain.logits(expected)[expected.length - 1])))
    for await (const event of generate(client, () => tokenizer.stream(), prompt, { maxTokens: 12, sampling: GREEDY, stopTokenIds: [] })) {
      if (event.type === 'done') assert.deepEqual(event.generation.tokens, expected.slice(prompt.length))
    }
  })

  it('asks for expert 0 with weight 1, for every token in every layer', async () => {
    recorder.batches.length = 0
    await lap([2, 500, 501], client.newCache(), 'all')
    assert.deepEqual(recorder.batches.map(({ layer }) => layer), [0, 1, 2, 3, 4, 5, 6])
    for (const { tokens, counts, experts, weights } of recorder.batches) {
      assert.deepEqual([tokens, [...counts], [...experts], [...weights]], [3, [1, 1, 1], [0, 0, 0], [1, 1, 1]])
    }
  })
})
