import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SwarmClient } from '../../node/index.js'
import { convertCheckpoint, synthesize, type WeightFormat } from '../../model-tools/index.js'
import { DEMO_CHECKPOINT } from '../../scripts/demo-bundle.js'
import { reference } from '../fixtures/reference.js'
import { writeDemoGguf, writeGemma3Gguf } from '../model-tools/gguf-fixtures.js'

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

  it('of Gemma 3 give the same weights and the same tokens, though files hold norms with 1 added', async () => {
    const { path } = await synthesize({ shape: 'gemma-3-tiny', format: 'safetensors', out: join(scratch, 'gemma3'), seed: 1 })
    // A file cannot say another scale than that of the head's size.
    const config = JSON.parse(await readFile(join(path, 'config.json'), 'utf8')) as { text_config: Record<string, unknown> }
    config.text_config.query_pre_attn_scalar = config.text_config.head_dim
    await writeFile(join(path, 'config.json'), JSON.stringify(config))
    const gguf = join(scratch, 'gemma3.gguf')
    await writeGemma3Gguf(path, gguf)
    const forms = []
    for (const checkpoint of [path, gguf]) {
      const model = await mkdtemp(join(scratch, 'bundle-'))
      const bundle = await convertCheckpoint({ checkpoint, out: model, quant: 'f32' })
      const client = await SwarmClient.open({ model, localLayers: 'all', draft: 'none' })
      try {
        const generation = client.generate(Array.from({ length: 60 }, (_, i) => (i * 977 + 500) % 1024), { maxTokens: 24, sampling: GREEDY, stopTokenIds: [] })
        for await (const event of generation) {
          if (event.type === 'done') forms.push({ tokens: event.generation.tokens, weights: Object.entries(bundle.manifest.files).filter(([name]) => name.endsWith('.bin')), config: bundle.config })
        }
      } finally {
        await client.close()
      }
    }
    assert.equal(forms[0].tokens.length, 24)
    assert.ok(forms[0].weights.length > 7)
    assert.deepEqual(forms[1], forms[0])
  })
})
