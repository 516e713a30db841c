import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { cp, mkdir, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gemma4 } from '../../../model-tools/architectures/gemma4.js'
import { planConversion } from '../../../model-tools/bundle/conversion-plan.js'
import type { Bundle } from '../../../model-tools/bundle/reader.js'
import { convertCheckpoint } from '../../../model-tools/bundle/writer.js'
import { openCheckpoint } from '../../../model-tools/checkpoint/open.js'
import { readEncoded, readValues, type CheckpointSource } from '../../../model-tools/checkpoint/source.js'
import { encodeRows } from '../../../model-tools/quantize/rows.js'
import { ChatTemplate } from '../../../model-tools/text/chat-template.js'
import { openText } from '../../../model-tools/text/open.js'
import { Tokenizer } from '../../../model-tools/text/tokenizer.js'
import { DEMO_MODEL, modelError, temporaryDirectory } from '../fixtures.js'
import { demoConfig, writeDemoGguf, type DemoGgufOptions } from '../gguf-fixtures.js'

async function configOf (source: CheckpointSource): Promise<ReturnType<typeof gemma4.parseConfig>> {
  const [config, generation] = await Promise.all(['config.json', 'generation_config.json'].map(async name => JSON.parse(new TextDecoder().decode(await source.sideFile(name))) as unknown))
  return gemma4.parseConfig(config, generation)
}

const valuesOf = ({ shape }: { shape: number[] }): number => shape.reduce((product, size) => product * size, 1)

describe('checkpoint/gguf', () => {
  const temporary = temporaryDirectory()
  let original: CheckpointSource

  before(async () => { original = await openCheckpoint(DEMO_MODEL) })
  after(async () => original.close())

  async function demo (options: DemoGgufOptions): Promise<CheckpointSource> {
    const path = join(temporary.path, `${temporary.sub('demo').split('/').at(-1)}.gguf`)
    await writeDemoGguf(path, options)
    return openCheckpoint(path)
  }

  async function using (options: DemoGgufOptions, use: (source: CheckpointSource) => Promise<void>): Promise<void> {
    const source = await demo(options)
    try {
      await use(source)
    } finally {
      await source.close()
    }
  }

  for (const options of [{ dtype: 'F32' }, { dtype: 'BF16' }, { dtype: 'F32', split: true }] as DemoGgufOptions[]) {
    it(`gives the tensors, configuration and plan of the safetensors form (${JSON.stringify(options)})`, async () => {
      await using(options, async source => {
        assert.deepEqual(await configOf(source), await demoConfig())
        assert.deepEqual([...source.tensors.keys()].sort(), [...original.tensors.keys()].sort())
        for (const [name, tensor] of original.tensors) {
          assert.deepEqual(source.tensors.get(name)?.shape, tensor.shape, name)
          const count = valuesOf(tensor)
          assert.ok(Buffer.from((await readValues(source, name, 0, count)).buffer).equals(Buffer.from((await readValues(original, name, 0, count)).buffer)), name)
        }
        assert.doesNotThrow(() => planConversion(source, gemma4, gemma4.parseConfig(JSON.parse(readFileSync(join(DEMO_MODEL, 'config.json'), 'utf8')), undefined), 'q4', 8))
      })
    })
  }

  it('gives any range of a tensor that the file holds in parts', async () => {
    await using({ dtype: 'Q8_0', split: true }, async split => {
      await using({ dtype: 'Q8_0' }, async whole => {
        const name = 'model.language_model.layers.2.experts.gate_up_proj'
        const bytes = whole.tensors.get(name)?.bytes ?? 0
        assert.equal(split.tensors.get(name)?.bytes, bytes)
        const all = await whole.read(name, 0, bytes)
        for (const [offset, length] of [[0, bytes], [1, 7], [13_000, 40_000], [bytes - 5, 5], [204, 0], [26_112, 26_112]]) {
          assert.deepEqual(Buffer.from(await split.read(name, offset, length)), Buffer.from(all.subarray(offset, offset + length)), `${offset} ${length}`)
        }
        await assert.rejects(split.read(name, bytes - 4, 5), RangeError)
        await assert.rejects(split.read('model.language_model.none', 0, 1), modelError('missing-tensor', 'none'))
      })
    })
  })

  it('carries Q8_0 over to what quantising the original gives', async () => {
    await using({ dtype: 'Q8_0' }, async source => {
      for (const name of ['embed_tokens.weight', 'layers.1.self_attn.k_proj.weight', 'layers.5.experts.gate_up_proj', 'layers.4.mlp.down_proj.weight']) {
        const tensor = source.tensors.get(`model.language_model.${name}`) ?? assert.fail(name)
        const count = valuesOf(tensor)
        const columns = tensor.shape.at(-1)!
        const carried = await readEncoded(source, tensor.name, 'q8', columns, 0, count / columns)
        const quantised = encodeRows('q8', await readValues(original, tensor.name, 0, count), columns)
        assert.deepEqual(Buffer.from(carried.data), Buffer.from(quantised.data), name)
        assert.deepEqual(Buffer.from(carried.scales ?? []), Buffer.from(quantised.scales ?? [1]), name)
      }
    })
  })

  for (const [dtype, quant] of [['F32', 'f32'], ['BF16', 'q4'], ['BF16', 'u4'], ['Q8_0', 'q8']] as const) {
    it(`converts ${dtype} to the weights that the safetensors form gives in ${quant}`, async () => {
      const checkpoint = join(temporary.path, `whole-${dtype}-${quant}.gguf`)
      await writeDemoGguf(checkpoint, { dtype })
      const [own, expected] = await Promise.all([checkpoint, DEMO_MODEL].map(async path => convertCheckpoint({ checkpoint: path, out: temporary.sub('bundle'), quant, threads: 1 })))
      // The text files say the same in other words; everything else is one and the same, so a run cannot differ.
      const weights = ({ manifest }: Bundle): unknown => ({ ...manifest, files: Object.fromEntries(Object.entries(manifest.files).filter(([file]) => !file.startsWith('text/'))) })
      assert.deepEqual(weights(own), weights(expected))
      const prompt = 'Once upon a time, there was a little'
      const [ids, expectedIds] = await Promise.all([own, expected].map(async bundle => (await openText(bundle)).tokenizer.encode(prompt)))
      assert.deepEqual(ids, expectedIds)
    })
  }

  /** A directory with the text files that the source gives. */
  async function textOf (source: CheckpointSource): Promise<string> {
    const dir = temporary.sub('text')
    await mkdir(dir)
    for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja']) await writeFile(join(dir, name), await source.sideFile(name) ?? assert.fail(name))
    return dir
  }

  const texts = [
    'Once upon a time, there was a little', ' two  spaces ', 'line\nline\n\n\n  end', 'naïve café, 10 € 😀 日本', '<|turn>user\nHi<turn|>\n', 'a<unused7>b<mask>', '<0x41>', 'tabs\tand ▁ marks', '\u0000', ''
  ]

  it('gives a tokenizer and a chat template with the ids and texts of the original', async () => {
    const { prompts } = JSON.parse(readFileSync(join(DEMO_MODEL, 'reference.json'), 'utf8')) as { prompts: Array<{ text: string, greedy_ids: number[] }> }
    await using({ dtype: 'F32', small: true }, async source => {
      const dir = await textOf(source)
      const [own, expected] = await Promise.all([dir, DEMO_MODEL].map(async path => Tokenizer.open(path, 2)))
      for (const text of [...texts, ...prompts.map(prompt => prompt.text)]) {
        const ids = expected.encode(text)
        assert.deepEqual(own.encode(text), ids, JSON.stringify(text))
        for (const skipSpecial of [true, false]) assert.equal(own.decode(ids, { skipSpecial }), expected.decode(ids, { skipSpecial }), JSON.stringify(text))
      }
      for (const { greedy_ids: ids } of prompts) assert.equal(own.decode(ids), expected.decode(ids))
      const every = Array.from({ length: 4096 }, (_, id) => id)
      assert.equal(own.decode(every), expected.decode(every))
      const [template, expectedTemplate] = await Promise.all([dir, DEMO_MODEL].map(async path => ChatTemplate.open(path)))
      assert.equal(template?.render([{ role: 'user', content: 'Hi' }]), expectedTemplate?.render([{ role: 'user', content: 'Hi' }]))
    })
  })

  it('makes the merges of a vocabulary that has scores only', async () => {
    // Rank by id stands in for a SentencePiece model's scores, whose order of merges it is.
    const scored = (metadata: Parameters<NonNullable<DemoGgufOptions['metadata']>>[0]): void => {
      const tokens = metadata['tokenizer.ggml.tokens'].value as string[]
      metadata['tokenizer.ggml.scores'] = { type: 'f32[]', value: tokens.map((_, id) => -id) }
      metadata['tokenizer.ggml.model'] = { type: 'string', value: 'llama' }
      delete metadata['tokenizer.ggml.merges']
    }
    await using({ dtype: 'F32', small: true, metadata: scored }, async source => {
      const [own, expected] = await Promise.all([await textOf(source), DEMO_MODEL].map(async path => Tokenizer.open(path, 2)))
      for (const text of ['Once upon a time, there was a little', 'naïve café']) assert.deepEqual(own.encode(text), expected.encode(text), text)
    })
  })

  it('prefers the text files that lie beside the weights', async () => {
    const dir = temporary.sub('beside')
    await mkdir(dir)
    await writeDemoGguf(join(dir, 'model.gguf'), { dtype: 'F32', small: true })
    await writeFile(join(dir, 'mmproj-model.gguf'), 'GGUF')
    await cp(join(DEMO_MODEL, 'tokenizer.json'), join(dir, 'tokenizer.json'))
    await writeFile(join(dir, 'generation_config.json'), '{"temperature":0.25}')
    const source = await openCheckpoint(dir)
    try {
      assert.deepEqual(Buffer.from(await source.sideFile('tokenizer.json') ?? []), readFileSync(join(DEMO_MODEL, 'tokenizer.json')))
      assert.equal(await source.sideFile('chat_template.jinja'), undefined)
      assert.equal((await configOf(source)).sampling.temperature, 0.25)
      assert.equal(await source.sideFile('../secret'), undefined)
    } finally {
      await source.close()
    }
    await writeFile(join(dir, 'second.gguf'), 'GGUF')
    await assert.rejects(openCheckpoint(dir), modelError('not-found', dir, '2 GGUF models', 'second.gguf'))
  })

  const refusedConfigs: Array<[string, NonNullable<DemoGgufOptions['metadata']>, string[]]> = [
    ['another architecture', all => { all['general.architecture'] = { type: 'string', value: 'qwen3moe' } }, ['"qwen3moe"', 'gemma4']],
    ['no architecture', all => { delete all['general.architecture'] }, ['general.architecture']],
    ['a missing key', all => { delete all['gemma4.expert_used_count'] }, ['"gemma4.expert_used_count"']],
    ['per-layer embeddings', all => { all['gemma4.embedding_length_per_layer_input'] = { type: 'u32', value: 256 } }, ['hidden_size_per_layer_input', '256']],
    ['a pattern of another length', all => { all['gemma4.attention.sliding_window_pattern'] = { type: 'bool[]', value: [true] } }, ['sliding_window_pattern', '6 layers']],
    ['heads that differ between layers', all => { all['gemma4.attention.head_count'] = { type: 'u32[]', value: [4, 4, 4, 4, 4, 8] } }, ['"gemma4.attention.head_count"']],
    ['values shorter than keys', all => { all['gemma4.attention.value_length'] = { type: 'u32', value: 32 } }, ['"gemma4.attention.value_length"', '64']],
    ['a part of a split model', all => { all['split.count'] = { type: 'u32', value: 3 } }, ['part 1 of 3', 'llama-gguf-split']]
  ]
  for (const [what, metadata, says] of refusedConfigs) {
    it(`refuses ${what}`, async () => {
      await assert.rejects(async () => using({ dtype: 'F32', small: true, metadata }, async source => { await configOf(source) }), modelError('unsupported', ...says))
    })
  }

  const refusedVocabularies: Array<[string, NonNullable<DemoGgufOptions['metadata']>, 'malformed' | 'unsupported', string[]]> = [
    ['another kind', all => { all['tokenizer.ggml.model'] = { type: 'string', value: 'gpt2' } }, 'unsupported', ['"gpt2"', 'tokenizer.json']],
    ['a prefix of spaces', all => { all['tokenizer.ggml.add_space_prefix'] = { type: 'bool', value: true } }, 'unsupported', ['tokenizer.json']],
    ['no types', all => { delete all['tokenizer.ggml.token_type'] }, 'unsupported', ['"tokenizer.ggml.token_type"']],
    ['a token too few', all => { all['tokenizer.ggml.token_type'] = { type: 'i32[]', value: [1, 2] } }, 'malformed', ['token_type', '4096']],
    ['a token twice', all => { (all['tokenizer.ggml.tokens'].value as string[])[9] = '<pad>' }, 'malformed', ['tokens', 'twice']],
    ['a merge of unknown tokens', all => { (all['tokenizer.ggml.merges'].value as string[])[5] = 'zq qz' }, 'malformed', ['merges', '"zq qz"']]
  ]
  for (const [what, metadata, code, says] of refusedVocabularies) {
    it(`refuses a vocabulary with ${what}`, async () => {
      await using({ dtype: 'F32', small: true, metadata }, async source => { await assert.rejects(source.sideFile('tokenizer.json'), modelError(code, ...says)) })
    })
  }

  it('notices a file that shrinks after it was opened', async () => {
    const source = await demo({ dtype: 'BF16' })
    try {
      await truncate(source.location, 1_000_000)
      await assert.rejects(source.read('model.language_model.layers.5.experts.down_proj', 0, 16), modelError('malformed', source.location, 'truncated'))
    } finally {
      await source.close()
    }
  })
})
