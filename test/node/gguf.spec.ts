import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SwarmClient } from '../../node/index.js'
import { convertCheckpoint, type WeightFormat } from '../../model-tools/index.js'
import { DEMO_CHECKPOINT } from '../../scripts/demo-bundle.js'
import { reference } from '../fixtures/reference.js'
import { writeDemoGguf } from '../model-tools/gguf-fixtures.js'

const GREEDY = { temperature: 0, topK: 0, topP: 1, seed: 0 }

describe('GGUF and safetensors forms of the demo model', function () {
  this.timeout(60_000)
  let scratch: string

  before(async () => { scratch = await mkdtemp(join(tmpdir(), 'moeswarm-gguf-')) })
  after(async () => { await rm(scratch, { recursive: true }) })

  /** Greedy continuations of all reference prompts, tokenised by the bundle's own tokenizer. */
  async function tokensOf (checkpoint: string, quant: WeightFormat): Promise<Array<{ ids: number[], tokens: number[] }>> {
    const model = await mkdtemp(join(scratch, 'bundle-'))
    await convertCheckpoint({ checkpoint, out: model, quant })
    // Where weights are quantised, laps of other lengths round otherwise: how long drafts are depends on the clock.
    const client = await SwarmClient.open({ model, localLayers: 'all', draft: 'none' })
    const results: Array<{ ids: number[], tokens: number[] }> = []
    try {
      for (const { text, chat } of reference.prompts) {
        const ids = chat ? client.encodeChat([{ role: 'user', content: text }]) : client.encode(text)
        for await (const event of client.generate(ids, { maxTokens: 48, sampling: GREEDY, stopTokenIds: [] })) {
          if (event.type === 'done') results.push({ ids, tokens: event.generation.tokens })
        }
      }
    } finally {
      await client.close()
    }
    return results
  }

  it('give the reference\'s tokens in full precision', async () => {
    const gguf = join(scratch, 'demo-f32.gguf')
    await writeDemoGguf(gguf, { dtype: 'F32' })
    assert.deepEqual(await tokensOf(gguf, 'f32'), reference.prompts.map(({ ids, greedy_ids: tokens }) => ({ ids, tokens })))
  })

  it('give each other\'s tokens in 8 bits, the GGUF blocks carried over as they are', async () => {
    const gguf = join(scratch, 'demo-q8.gguf')
    await writeDemoGguf(gguf, { dtype: 'Q8_0' })
    assert.deepEqual(await tokensOf(gguf, 'q8'), await tokensOf(DEMO_CHECKPOINT, 'q8'))
  })
})
