import assert from 'node:assert/strict'
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Bundle, MANIFEST_FILE } from '../../../model-tools/bundle/reader.js'
import { convertCheckpoint } from '../../../model-tools/bundle/writer.js'
import { floats32 } from '../../../model-tools/float.js'
import { synthesize } from '../../../model-tools/synth/synthesize.js'
import { contents, DEMO_MODEL, modelError, readSafetensors, temporaryDirectory, type RawTensor } from '../fixtures.js'

const DEMO_DRAFTER = resolve('model-tools/demo-drafter')
type Json = Record<string, unknown>

function brainValues ({ data }: RawTensor): Float32Array {
  return new Float32Array(Uint32Array.from({ length: data.length / 2 }, (_, i) => (data[2 * i] | (data[2 * i + 1] << 8)) << 16).buffer)
}

describe('a bundle with a drafter', () => {
  const temporary = temporaryDirectory()
  let bundle: Bundle

  before(async () => {
    bundle = await convertCheckpoint({ checkpoint: DEMO_MODEL, drafter: DEMO_DRAFTER, out: temporary.sub('whole'), quant: 'f32', blockExperts: 8 })
  })

  it('holds every value of the drafter in the client part', async () => {
    assert.deepEqual(bundle.manifest.drafter, { hiddenSize: 128, layerTypes: ['sliding', 'full'], heads: 4, intermediateSize: 512, rmsNormEps: 1e-6 })
    assert.ok(bundle.clientFiles().includes('client/drafter.bin'))
    await bundle.verify()
    const tensors = await readSafetensors(join(DEMO_DRAFTER, 'model.safetensors'))
    const values = (name: string): Float32Array => brainValues(tensors.get(name) as RawTensor)
    const read = async (name: Parameters<Bundle['tensor']>[0]): Promise<Float32Array> => floats32((await bundle.read(bundle.tensor(name))).data)
    assert.deepEqual(await read('drafter.pre_projection'), values('pre_projection.weight'))
    assert.deepEqual(await read('drafter.post_projection'), values('post_projection.weight'))
    assert.deepEqual(await read('drafter.final_norm'), values('model.norm.weight'))
    assert.deepEqual(await read('drafter.embedding'), values('model.embed_tokens.weight'))
    const named = {
      input_norm: 'input_layernorm.weight', q: 'self_attn.q_proj.weight', q_norm: 'self_attn.q_norm.weight', o: 'self_attn.o_proj.weight', post_attention_norm: 'post_attention_layernorm.weight',
      pre_mlp_norm: 'pre_feedforward_layernorm.weight', down: 'mlp.down_proj.weight', post_mlp_norm: 'post_feedforward_layernorm.weight', layer_scalar: 'layer_scalar'
    } as const
    for (const layer of [0, 1]) {
      for (const [ours, theirs] of Object.entries(named) as Array<[keyof typeof named, string]>) {
        assert.deepEqual(await read(`drafter.layers.${layer}.${ours}`), values(`model.layers.${layer}.${theirs}`), `${layer} ${ours}`)
      }
      const joined = [...values(`model.layers.${layer}.mlp.gate_proj.weight`), ...values(`model.layers.${layer}.mlp.up_proj.weight`)]
      assert.deepEqual(await read(`drafter.layers.${layer}.gate_up`), Float32Array.from(joined))
    }
  })

  it('has the drafter in the formats of the client part', async () => {
    const q4 = await convertCheckpoint({ checkpoint: DEMO_MODEL, drafter: DEMO_DRAFTER, out: temporary.sub('q4'), quant: 'q4', layers: 'none' })
    assert.equal(q4.tensor('drafter.layers.0.q').format, q4.tensor('layers.0.o').format)
    assert.equal(q4.tensor('drafter.embedding').format, q4.tensor('embedding').format)
    assert.equal(q4.tensor('drafter.layers.0.q_norm').format, 'f32')
    const u4 = await convertCheckpoint({ checkpoint: DEMO_MODEL, drafter: DEMO_DRAFTER, out: temporary.sub('u4'), quant: 'u4', layers: 'none' })
    assert.deepEqual([u4.tensor('drafter.embedding').format, u4.tensor('head').format, u4.tensor('embedding').format], ['u4', 'u4', 'q8'])
    await u4.verify(u4.clientFiles())
  })

  it('gives a host of experts its blocks without the drafter, and no client part', async () => {
    const manifest = join(bundle.dir, MANIFEST_FILE)
    const part = await convertCheckpoint({ checkpoint: DEMO_MODEL, out: temporary.sub('part'), manifest, layers: '2', client: false })
    assert.equal(part.id, bundle.id)
    const [whole, here] = [await contents(bundle.dir), await contents(part.dir)]
    for (const [file, sha256] of Object.entries(here)) assert.equal(sha256, whole[file], file)
    await assert.rejects(convertCheckpoint({ checkpoint: DEMO_MODEL, out: temporary.sub('client'), manifest, layers: 'none' }), modelError('not-found', '--drafter', '--no-client'))
  })

  it('does not take a bundle without the drafter for the same', async () => {
    await assert.rejects(convertCheckpoint({ checkpoint: DEMO_MODEL, out: bundle.dir, quant: 'f32', blockExperts: 8 }), modelError('not-found', 'its drafter'))
  })

  for (const [what, change, key] of [
    ['another hidden size', (config: Json) => ({ ...config, backbone_hidden_size: 256 }), 'backbone_hidden_size'],
    ['another vocabulary', (config: Json) => ({ ...config, text_config: { ...config.text_config as Json, vocab_size: 8192 } }), 'vocab_size'],
    ['other heads', (config: Json) => ({ ...config, text_config: { ...config.text_config as Json, head_dim: 64 } }), 'head_dim'],
    ['another rotation', (config: Json) => ({ ...config, text_config: { ...config.text_config as Json, rope_parameters: { sliding_attention: { rope_type: 'default', rope_theta: 500 } } } }), 'ropeTheta'],
    ['a clustered head', (config: Json) => ({ ...config, use_ordered_embeddings: true }), 'use_ordered_embeddings'],
    ['a key that nobody knows', (config: Json) => ({ ...config, text_config: { ...config.text_config as Json, novelty: 1 } }), 'novelty'],
    ['another type', (config: Json) => ({ ...config, model_type: 'gemma4' }), 'model_type']
  ] as const) {
    it(`refuses a drafter with ${what}`, async () => {
      const drafter = temporary.sub('drafter')
      await cp(DEMO_DRAFTER, drafter, { recursive: true })
      const config = JSON.parse(await readFile(join(drafter, 'config.json'), 'utf8')) as Json
      await writeFile(join(drafter, 'config.json'), JSON.stringify(change(config)))
      await assert.rejects(convertCheckpoint({ checkpoint: DEMO_MODEL, drafter, out: temporary.sub('x') }), modelError('unsupported', "drafter's config.json", key))
    })
  }

  it('refuses a drafter whose weights are not those of its config', async () => {
    const drafter = temporary.sub('drafter')
    await cp(DEMO_DRAFTER, drafter, { recursive: true })
    const config = JSON.parse(await readFile(join(drafter, 'config.json'), 'utf8')) as Json
    await writeFile(join(drafter, 'config.json'), JSON.stringify({ ...config, text_config: { ...config.text_config as Json, intermediate_size: 256 } }))
    await assert.rejects(convertCheckpoint({ checkpoint: DEMO_MODEL, drafter, out: temporary.sub('x') }), modelError('wrong-shape', 'mlp.gate_proj.weight'))
  })

  it('refuses a model of a family without drafters', async () => {
    const { path } = await synthesize({ shape: 'gemma-3-tiny', format: 'safetensors', out: temporary.sub('gemma3') })
    await assert.rejects(convertCheckpoint({ checkpoint: path, drafter: DEMO_DRAFTER, out: temporary.sub('x') }), modelError('unsupported', '--drafter'))
    await assert.rejects(synthesize({ shape: 'gemma-3-tiny', format: 'bundle', drafter: true, out: temporary.sub('y') }), modelError('unsupported', '--drafter'))
  })

  it('comes with a synthetic model, too', async () => {
    const { path } = await synthesize({ shape: 'demo', layers: 2, format: 'bundle', drafter: true, out: temporary.sub('synthetic') })
    const synthetic = await Bundle.open(path)
    await synthetic.verify()
    assert.deepEqual(synthetic.manifest.drafter, bundle.manifest.drafter)
    const deviation = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length)
    const norm = floats32((await synthetic.read(synthetic.tensor('drafter.final_norm'))).data)
    assert.ok(Math.abs(deviation(norm) - 1) < 0.1)
  })
})
