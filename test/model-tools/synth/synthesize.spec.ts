import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gemma4 } from '../../../model-tools/architectures/gemma4.js'
import { Bundle } from '../../../model-tools/bundle/reader.js'
import { convertCheckpoint } from '../../../model-tools/bundle/writer.js'
import { openCheckpoint } from '../../../model-tools/checkpoint/open.js'
import { readValues, type CheckpointSource } from '../../../model-tools/checkpoint/source.js'
import { GEMMA4_DIALECT } from '../../../model-tools/synth/dialects.js'
import { SyntheticSource } from '../../../model-tools/synth/source.js'
import { synthesize, SYNTHESIS_FORMATS, type SynthesisOptions, type SynthesisProgress } from '../../../model-tools/synth/synthesize.js'
import { isSynthesizable, randomBytes } from '../../../model-tools/synth/values.js'
import { syntheticVocabulary } from '../../../model-tools/synth/vocabulary.js'
import { dtypeOf } from '../../../model-tools/checkpoint/dtypes.js'
import { ChatTemplate } from '../../../model-tools/text/chat-template.js'
import { Tokenizer } from '../../../model-tools/text/tokenizer.js'
import { DEMO_MODEL, modelError, temporaryDirectory } from '../fixtures.js'
import { plainForward } from './forward.js'

const PREFIX = 'model.language_model.'

async function digests (dir: string): Promise<Record<string, string>> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  return Object.fromEntries(await Promise.all(entries.filter(entry => entry.isFile()).map(async entry => {
    const path = join(entry.parentPath, entry.name)
    return [path.slice(dir.length + 1), createHash('sha256').update(await readFile(path)).digest('hex')] as const
  })))
}

const shapes = (source: CheckpointSource): Record<string, number[]> => Object.fromEntries([...source.tensors].map(([name, { shape }]) => [name, shape]))

describe('synth', () => {
  const temporary = temporaryDirectory()

  async function make (options: Partial<SynthesisOptions> & Pick<SynthesisOptions, 'format'>): Promise<string> {
    return (await synthesize({ shape: 'demo', out: temporary.sub('synth'), ...options })).path
  }

  it('makes the same bytes for every range, dtype by dtype, with the distribution that was asked for', () => {
    for (const dtype of ['F32', 'F16', 'BF16', 'Q4_0', 'Q8_0', 'Q6_K']) {
      const { blockBytes, blockValues, decode } = dtypeOf(dtype) ?? assert.fail(dtype)
      const length = blockBytes * Math.ceil(300_000 / blockValues)
      const all = randomBytes(dtype, { mean: 0, deviation: 0.02 }, 7, 0, length)
      for (const [from, to] of [[0, 10], [3, 70_000], [length - 1, length], [blockBytes, 5 * blockBytes]]) {
        assert.deepEqual(Buffer.from(randomBytes(dtype, { mean: 0, deviation: 0.02 }, 7, from, to - from)), Buffer.from(all.subarray(from, to)), `${dtype} ${from}`)
      }
      assert.notDeepEqual(randomBytes(dtype, { mean: 0, deviation: 0.02 }, 8, 0, 100), all.subarray(0, 100), `${dtype} of another stream`)
      const values = decode(randomBytes(dtype, { mean: 0, deviation: 0.02 }, 7, 0, blockBytes * 131_072 / blockValues))
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length
      const deviation = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length)
      assert.ok(Math.abs(mean) < 0.001, `${dtype} has a mean of ${mean}`)
      assert.ok(deviation > 0.019 && deviation < 0.021, `${dtype} has a deviation of ${deviation}`)
    }
    assert.equal(isSynthesizable('Q4_K'), false)
    assert.throws(() => randomBytes('Q4_K', { mean: 0, deviation: 1 }, 0, 0, 144), RangeError)
  })

  it('writes a safetensors checkpoint with the tensors of the demo model', async () => {
    const path = await make({ format: 'safetensors' })
    const [source, demo] = await Promise.all([path, DEMO_MODEL].map(async place => openCheckpoint(place)))
    try {
      assert.deepEqual(shapes(source), shapes(demo))
      assert.ok([...source.tensors.values()].every(({ dtype }) => dtype === 'BF16'))
      const first = await readValues(source, `${PREFIX}layers.0.mlp.gate_proj.weight`, 0, 500)
      assert.notDeepEqual(await readValues(source, `${PREFIX}layers.0.mlp.up_proj.weight`, 0, 500), first)
      assert.notDeepEqual(await readValues(source, `${PREFIX}layers.1.mlp.gate_proj.weight`, 0, 500), first)
    } finally {
      await Promise.all([source.close(), demo.close()])
    }
    const bundle = await convertCheckpoint({ checkpoint: path, out: temporary.sub('bundle'), threads: 1 })
    assert.equal(bundle.blocks.length, 12)
  })

  it('has the tensors, files and bytes of the 26B release', async () => {
    const source = new SyntheticSource({ shape: 'gemma-4-26b-a4b' }, () => 'BF16')
    assert.equal(source.tensors.size, 657)
    assert.equal([...source.tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0), 2 * 25_233_141_790)
    assert.deepEqual(new SyntheticSource({ shape: 'gemma-4-26b-a4b', layers: 7 }, () => 'BF16').config.layerTypes, ['sliding', 'sliding', 'sliding', 'sliding', 'sliding', 'full', 'full'])
    assert.deepEqual(source.tensors.get(`${PREFIX}layers.29.experts.gate_up_proj`), { name: `${PREFIX}layers.29.experts.gate_up_proj`, dtype: 'BF16', shape: [128, 1408, 2816], bytes: 128 * 1408 * 2816 * 2 })
    assert.equal((await source.read(`${PREFIX}embed_tokens.weight`, 1_400_000_000, 10)).length, 10)
    await assert.rejects(source.read('none', 0, 1), modelError('missing-tensor', 'none'))
    await assert.rejects(source.read(`${PREFIX}norm.weight`, 5630, 3), RangeError)
  })

  it('has the text tensors and bytes of the Gemma 3 4B release, and no GGUF form of what a file cannot say', async () => {
    const source = new SyntheticSource({ shape: 'gemma-3-4b' }, () => 'BF16')
    assert.equal(source.tensors.size, 444)
    assert.equal([...source.tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0), 2 * 3_880_263_168)
    assert.deepEqual(source.tensors.get('language_model.model.layers.33.mlp.gate_proj.weight')?.shape, [10_240, 2560])
    await assert.rejects(make({ shape: 'gemma-3-tiny', format: 'gguf' }), modelError('unsupported', 'GGUF', 'gemma-3-tiny'))
  })

  it('writes a GGUF file that opens as the same model, and a bundle of it without a second rounding', async () => {
    const path = await make({ format: 'gguf', seed: 3 })
    const source = await openCheckpoint(path)
    const expected = new SyntheticSource({ shape: 'demo', seed: 3 }, () => 'BF16')
    try {
      assert.deepEqual(shapes(source), shapes(expected))
      const json = async (name: string): Promise<unknown> => JSON.parse(new TextDecoder().decode(await source.sideFile(name)))
      assert.deepEqual(gemma4.parseConfig(await json('config.json'), await json('generation_config.json')), expected.config)
      assert.equal(source.tensors.get(`${PREFIX}layers.0.experts.down_proj`)?.dtype, 'Q4_0')
      assert.equal(source.tensors.get(`${PREFIX}layers.0.router.proj.weight`)?.dtype, 'F32')
    } finally {
      await source.close()
    }
    const bundle = await convertCheckpoint({ checkpoint: path, out: temporary.sub('bundle'), threads: 1 })
    const direct = await Bundle.open(await make({ format: 'bundle', quant: 'q4', seed: 3 }))
    // The same streams in the same block formats: the way through a file and the direct one must meet.
    assert.equal(bundle.id, direct.id)
    await direct.verify()
  })

  it('writes bundles in every quantisation', async () => {
    for (const quant of ['q8', 'f16', 'f32'] as const) {
      const bundle = await Bundle.open(await make({ format: 'bundle', quant, layers: 1, blockExperts: 32 }))
      await bundle.verify()
      assert.equal(bundle.manifest.quant, quant)
      assert.equal(bundle.blocks.length, 1)
    }
  })

  it('gives equal bytes for equal seeds and others for others', async () => {
    for (const format of SYNTHESIS_FORMATS) {
      const [a, b, c] = await Promise.all([1, 1, 2].map(async seed => {
        const out = temporary.sub('seed')
        await synthesize({ shape: 'demo', layers: 1, format, seed, out })
        return digests(out)
      }))
      assert.deepEqual(a, b, format)
      assert.notDeepEqual(a, c, format)
    }
  })

  it('spreads tokens over the experts by what the tokens are, and stays finite over many layers', async () => {
    const source = new SyntheticSource({ shape: 'demo', layers: 12 }, () => 'BF16')
    const tokens = Array.from({ length: 160 }, (_, i) => (i * 977 + 500) % 4096)
    const { experts, streamRms, logits } = await plainForward(source, source.config, tokens)
    const uniform = Math.log(32)
    for (const [layer, chosen] of experts.entries()) {
      const load = new Float64Array(32)
      for (const expert of chosen.flat()) load[expert] += 1 / (160 * 4)
      const entropy = -load.reduce((sum, share) => sum + (share === 0 ? 0 : share * Math.log(share)), 0)
      // The trained demo model has 0.995 to 0.996.
      assert.ok(entropy > 0.96 * uniform, `layer ${layer}: entropy ${entropy / uniform} of uniform`)
      assert.ok(new Set(chosen.map(best => [...best].sort((a, b) => a - b).join())).size > 100, `layer ${layer}: tokens choose alike`)
    }
    for (const [layer, value] of streamRms.entries()) assert.ok(value > 0.5 && value < 10, `layer ${layer}: the stream has a root mean square of ${value}`)
    const deviation = Math.sqrt(logits.reduce((sum, value) => sum + value * value, 0) / logits.length)
    assert.notEqual(logits.indexOf(Math.max(...logits)), tokens.at(-1), 'a model that repeats its input would choose the same experts for ever')
    assert.ok(logits.every(Number.isFinite) && deviation > 1 && deviation < 6, `logits have a deviation of ${deviation}`)
  })

  it('has a vocabulary of any size that keeps every text', async () => {
    const dir = await make({ format: 'safetensors', layers: 1 })
    const tokenizer = await Tokenizer.open(dir, 2)
    for (const text of ['Once upon a time, there was a little', ' two  spaces ', 'é 😀 日本', 'a\n\n\nb', '<|turn>user\nHi<turn|>\n', '']) {
      const ids = tokenizer.encode(text)
      assert.equal(tokenizer.decode(ids, { skipSpecial: false }), `<bos>${text}`, JSON.stringify(text))
    }
    assert.deepEqual(tokenizer.encode('\n<|turn>', { addBos: false }), [107, 105])
    assert.match((await ChatTemplate.open(dir))?.render([{ role: 'user', content: 'Hi' }]) ?? '', /^<bos><\|turn>user\nHi<turn\|>\n/)
    for (const size of [1024, 4096, 262_144]) {
      const { tokens, types, merges } = syntheticVocabulary(size, GEMMA4_DIALECT)
      assert.deepEqual([tokens.length, types.length, new Set(tokens).size], [size, size, size])
      const known = new Set(tokens)
      assert.ok(merges.every(merge => merge.split(' ').every(part => known.has(part)) && known.has(merge.replace(' ', ''))))
    }
    assert.throws(() => syntheticVocabulary(1000, GEMMA4_DIALECT), RangeError)
  })

  it('reports progress up to the bytes that it announced', async () => {
    for (const format of SYNTHESIS_FORMATS) {
      const seen: SynthesisProgress[] = []
      const { bytes } = await synthesize({ shape: 'demo', format, layers: 2, out: temporary.sub('progress'), onProgress: progress => { seen.push(progress) } })
      assert.ok(seen.every(({ doneBytes, totalBytes }, i) => totalBytes === bytes && doneBytes >= (seen[i - 1]?.doneBytes ?? 0)), format)
      assert.equal(seen.at(-1)?.doneBytes, bytes, format)
    }
  })

  it('removes what it has written when it is broken off', async () => {
    for (const format of SYNTHESIS_FORMATS) {
      const abort = new AbortController()
      const out = temporary.sub('aborted')
      const run = synthesize({ shape: 'gemma-4-26b-a4b', layers: 1, format, out, signal: abort.signal, onProgress: ({ doneBytes }) => { if (doneBytes > 20_000_000) abort.abort() } })
      await assert.rejects(run, { name: 'AbortError' })
      await assert.rejects(stat(out), { code: 'ENOENT' })
    }
  })

  it('says how much room is missing before it writes', async () => {
    for (const format of SYNTHESIS_FORMATS) {
      const out = temporary.sub('full')
      await assert.rejects(synthesize({ shape: 'gemma-4-26b-a4b', layers: 2000, format, out }), modelError('no-space', out, 'missing'))
      await assert.rejects(stat(out), { code: 'ENOENT' })
    }
  })

  it('names a shape, a directory or a size that cannot be', async () => {
    await assert.rejects(make({ format: 'gguf', shape: 'gemma-9' }), modelError('unsupported', 'gemma-9', 'gemma-4-26b-a4b', 'demo'))
    await assert.rejects(make({ format: 'gguf', shape: 'constructor' }), modelError('unsupported', 'constructor'))
    await assert.rejects(make({ format: 'bundle', blockExperts: 33 }), modelError('out-of-range', '33'))
    await assert.rejects(make({ format: 'gguf', layers: 0 }), modelError('unsupported', 'num_hidden_layers'))
    const taken = temporary.sub('taken')
    await mkdir(taken)
    await writeFile(join(taken, 'mine'), 'x')
    await assert.rejects(make({ format: 'gguf', out: taken }), modelError('not-found', taken, 'not empty'))
    assert.equal(await readFile(join(taken, 'mine'), 'utf8'), 'x')
    await assert.rejects(make({ format: 'gguf', out: join(taken, 'mine') }), modelError('not-found', join(taken, 'mine')))
  })
})
