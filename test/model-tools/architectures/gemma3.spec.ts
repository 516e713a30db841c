import assert from 'node:assert/strict'
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gemma3 } from '../../../model-tools/architectures/gemma3.js'
import { architectureOfCheckpoint } from '../../../model-tools/architectures/index.js'
import { canonicalJson } from '../../../model-tools/bundle/canonical-json.js'
import { expertTensors } from '../../../model-tools/bundle/conversion-plan.js'
import type { ModelConfig } from '../../../model-tools/bundle/manifest.js'
import { parseManifest } from '../../../model-tools/bundle/manifest-schema.js'
import { convertCheckpoint } from '../../../model-tools/bundle/writer.js'
import { synthesize } from '../../../model-tools/synth/synthesize.js'
import { modelError, readSafetensors, temporaryDirectory, writeSafetensors, type RawTensor } from '../fixtures.js'

type Json = Record<string, unknown>

/** config.json of google/gemma-3-4b-it: the text's sizes are for the most part the class's defaults. */
const TEXT_4B: Json = { hidden_size: 2560, intermediate_size: 10240, model_type: 'gemma3_text', num_hidden_layers: 34, rope_scaling: { factor: 8.0, rope_type: 'linear' }, sliding_window: 1024 }
const RELEASE_4B: Json = {
  architectures: ['Gemma3ForConditionalGeneration'], boi_token_index: 255999, eoi_token_index: 256000, eos_token_id: [1, 106], image_token_index: 262144, initializer_range: 0.02,
  mm_tokens_per_image: 256, model_type: 'gemma3', text_config: TEXT_4B, torch_dtype: 'bfloat16', transformers_version: '4.50.0.dev0',
  vision_config: { hidden_size: 1152, image_size: 896, intermediate_size: 4304, model_type: 'siglip_vision_model', num_attention_heads: 16, num_hidden_layers: 27, patch_size: 14, vision_use_head: false }
}
/** config.json of google/gemma-3-1b-it, the text-only one. */
const RELEASE_1B: Json = {
  architectures: ['Gemma3ForCausalLM'], attention_bias: false, attention_dropout: 0.0, attn_logit_softcapping: null, bos_token_id: 2, cache_implementation: 'hybrid', eos_token_id: [1, 106],
  final_logit_softcapping: null, head_dim: 256, hidden_activation: 'gelu_pytorch_tanh', hidden_size: 1152, initializer_range: 0.02, intermediate_size: 6912, max_position_embeddings: 32768,
  model_type: 'gemma3_text', num_attention_heads: 4, num_hidden_layers: 26, num_key_value_heads: 1, pad_token_id: 0, query_pre_attn_scalar: 256, rms_norm_eps: 1e-06,
  rope_local_base_freq: 10000, rope_scaling: null, rope_theta: 1000000, sliding_window: 512, sliding_window_pattern: 6, torch_dtype: 'bfloat16', transformers_version: '4.50.0.dev0',
  use_cache: true, vocab_size: 262144
}
const GENERATION: Json = { bos_token_id: 2, cache_implementation: 'hybrid', do_sample: true, eos_token_id: [1, 106], pad_token_id: 0, top_k: 64, top_p: 0.95 }

/** The 4B release with changes to its text config; undefined removes a key. */
const changed = (changes: Json): Json => ({ ...RELEASE_4B, text_config: JSON.parse(JSON.stringify({ ...TEXT_4B, ...changes })) as Json })
const fullLayers = ({ layerTypes }: ModelConfig): number[] => layerTypes.flatMap((type, layer) => type === 'full' ? layer : [])

describe('architectures/gemma3', () => {
  it('understands the configuration of the 4B release, most of which is defaults', () => {
    const shared = { heads: 8, kvHeads: 4, headDim: 256, rotaryFactor: 1, valueFromKey: false, queryScale: 1 / 16 }
    const config = gemma3.parseConfig(RELEASE_4B, GENERATION)
    assert.deepEqual(config, {
      architecture: 'gemma3',
      vocabSize: 262208,
      hiddenSize: 2560,
      layerTypes: Array.from({ length: 34 }, (_, layer) => layer % 6 === 5 ? 'full' : 'sliding'),
      attention: { sliding: { ...shared, ropeTheta: 10_000 }, full: { ...shared, ropeTheta: 1_000_000, ropeDivisor: 8 } },
      slidingWindow: 1024,
      denseIntermediateSize: 0,
      experts: 1,
      topK: 1,
      expertIntermediateSize: 10240,
      rmsNormEps: 1e-6,
      embeddingScale: Math.fround(Math.sqrt(2560)),
      logitSoftcap: 0,
      maxPositions: 131072,
      bosTokenId: 2,
      eosTokenIds: [1, 106],
      sampling: { temperature: 1, topK: 64, topP: 0.95 }
    })
    assert.deepEqual(fullLayers(config), [5, 11, 17, 23, 29])
  })

  it('understands the text-only configuration of the 1B release', () => {
    const config = gemma3.parseConfig(RELEASE_1B, GENERATION)
    assert.deepEqual([config.hiddenSize, config.vocabSize, config.slidingWindow, config.maxPositions, config.layerTypes.length], [1152, 262144, 512, 32768, 26])
    assert.deepEqual(config.attention.full, { heads: 4, kvHeads: 1, headDim: 256, ropeTheta: 1e6, rotaryFactor: 1, valueFromKey: false, queryScale: 1 / 16 })
    assert.deepEqual(config.eosTokenIds, [1, 106])
  })

  it('takes what is absent from the configuration class', () => {
    const config = gemma3.parseConfig({ model_type: 'gemma3', text_config: {} }, undefined)
    assert.deepEqual([config.vocabSize, config.hiddenSize, config.expertIntermediateSize, config.layerTypes.length, config.slidingWindow], [262208, 2304, 9216, 26, 4096])
    assert.equal(config.attention.full.ropeDivisor, undefined)
    assert.deepEqual([config.bosTokenId, config.eosTokenIds, config.sampling], [2, [1], { temperature: 1, topK: 64, topP: 0.95 }])
  })

  it('counts the releases\' text tensors and parameters', () => {
    for (const [release, tensors, parameters] of [[RELEASE_4B, 444, 3_880_263_168], [RELEASE_1B, 340, 999_885_952]] as const) {
      const config = gemma3.parseConfig(release, GENERATION)
      const all = [...gemma3.clientTensors(config, 'q4').flatMap(plan => plan.sources), ...config.layerTypes.flatMap((_, layer) => expertTensors(gemma3, config, layer))]
      assert.equal(all.length, tensors)
      assert.equal(new Set(all.map(({ name }) => name)).size, tensors)
      assert.equal(all.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0), parameters)
    }
  })

  const same: Array<[string, Json]> = [
    ['rope_parameters of newer versions', {
      rope_scaling: undefined, rope_parameters: { full_attention: { factor: 8, rope_theta: 1_000_000, rope_type: 'linear' }, sliding_attention: { rope_theta: 10_000, rope_type: 'default' } }
    }],
    ['bases outside of rope_parameters', { rope_scaling: undefined, rope_parameters: { full_attention: { factor: 8, rope_type: 'linear' } }, rope_theta: 1_000_000, rope_local_base_freq: 10_000 }],
    ['the older name of the kind', { rope_scaling: { factor: 8, type: 'linear' } }],
    ['layer_types and what they came from', { layer_types: Array.from({ length: 34 }, (_, layer) => layer % 6 === 5 ? 'full_attention' : 'sliding_attention'), _sliding_window_pattern: 6, sliding_window_pattern: 4 }],
    ['every default', {
      vocab_size: 262208, num_attention_heads: 8, num_key_value_heads: 4, head_dim: 256, hidden_activation: 'gelu_pytorch_tanh', max_position_embeddings: 131072, rms_norm_eps: 1e-6,
      query_pre_attn_scalar: 256, rope_theta: 1e6, rope_local_base_freq: 1e4, sliding_window_pattern: 6, attention_bias: false, use_bidirectional_attention: false, final_logit_softcapping: null
    }]
  ]
  for (const [what, changes] of same) {
    it(`takes ${what}`, () => { assert.deepEqual(gemma3.parseConfig(changed(changes), GENERATION), gemma3.parseConfig(RELEASE_4B, GENERATION)) })
  }

  it('takes another period, scale of queries, and a soft cap of logits', () => {
    const config = gemma3.parseConfig(changed({ sliding_window_pattern: 3, query_pre_attn_scalar: 168, num_hidden_layers: 7, final_logit_softcapping: 30 }), GENERATION)
    assert.deepEqual(fullLayers(config), [2, 5])
    assert.equal(config.attention.sliding.queryScale, Math.fround(168 ** -0.5))
    assert.equal(config.logitSoftcap, 30)
    assert.equal(Object.hasOwn(gemma3.parseConfig(changed({ query_pre_attn_scalar: 1 }), GENERATION).attention.full, 'queryScale'), false)
  })

  const refused: Array<[Json, string]> = [
    [{ attention_bias: true }, '"attention_bias" is true'],
    [{ hidden_activation: 'silu' }, '"hidden_activation" is "silu"'],
    [{ attn_logit_softcapping: 50 }, '"attn_logit_softcapping" is 50'],
    [{ use_bidirectional_attention: true }, '"use_bidirectional_attention" is true'],
    [{ tie_word_embeddings: false }, '"tie_word_embeddings" is false'],
    [{ quantization_config: { bits: 4 } }, '"quantization_config"'],
    [{ model_type: 'gemma2' }, '"model_type" is "gemma2"'],
    [{ hidden_size: 0 }, '"hidden_size" is 0'],
    [{ num_attention_heads: 6 }, '"num_attention_heads" is 6'],
    [{ head_dim: 255 }, '"head_dim" is 255'],
    [{ query_pre_attn_scalar: 0 }, '"query_pre_attn_scalar" is 0'],
    [{ sliding_window_pattern: 0 }, '"sliding_window_pattern" is 0'],
    [{ _sliding_window_pattern: 4 }, '"_sliding_window_pattern" is 4'],
    [{ layer_types: ['full_attention'] }, '"layer_types"'],
    [{ layer_types: Array.from({ length: 34 }, () => 'chunked_attention') }, '"layer_types"'],
    [{ num_experts: 4 }, '"num_experts" is 4 and is not known'],
    [{ rope_scaling: { rope_type: 'yarn', factor: 8 } }, '"rope_type" is "yarn"'],
    [{ rope_scaling: { type: 'dynamic', factor: 8 } }, '"type" is "dynamic"'],
    [{ rope_scaling: { rope_type: 'linear' } }, '"factor"'],
    [{ rope_scaling: { rope_type: 'default', factor: 8 } }, '"factor" is 8'],
    [{ rope_scaling: { rope_type: 'linear', factor: 8, low_freq_factor: 1 } }, '"low_freq_factor" is 1'],
    [{ rope_scaling: { rope_type: 'linear', factor: 8, partial_rotary_factor: 0.5 } }, '"partial_rotary_factor" is 0.5'],
    [{ rope_parameters: {} }, '"rope_scaling"'],
    [{ rope_scaling: undefined, rope_parameters: { rope_type: 'linear', factor: 8 } }, '"rope_type" is "linear"'],
    [{ eos_token_id: 262208 }, '"eos_token_id" is 262208']
  ]
  for (const [changes, says] of refused) {
    it(`refuses ${JSON.stringify(changes).slice(0, 100)}`, () => {
      assert.throws(() => gemma3.parseConfig(changed(changes), GENERATION), modelError('unsupported', 'config.json', says))
    })
  }

  it('refuses a model without a text', () => {
    assert.throws(() => gemma3.parseConfig({ model_type: 'gemma3' }, GENERATION), modelError('unsupported', 'text_config'))
    assert.throws(() => gemma3.parseConfig({ ...RELEASE_4B, tie_word_embeddings: false }, GENERATION), modelError('unsupported', '"tie_word_embeddings"'))
  })

  it('is found by model_type', () => {
    assert.equal(architectureOfCheckpoint(RELEASE_4B), gemma3)
    assert.equal(architectureOfCheckpoint(RELEASE_1B), gemma3)
  })
})

describe('conversion of Gemma 3', () => {
  const temporary = temporaryDirectory()
  let release: string

  before(async () => { release = (await synthesize({ shape: 'gemma-3-tiny', format: 'safetensors', out: temporary.sub('release') })).path })

  /** The release with its tensors under other names, and more beside them. */
  async function relaid (config: (config: Json & { text_config: Json }) => Json, prefix: string, others: string[]): Promise<string> {
    const dir = temporary.sub('relaid')
    await mkdir(dir)
    for (const name of ['generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja']) await cp(join(release, name), join(dir, name))
    await writeFile(join(dir, 'config.json'), JSON.stringify(config(JSON.parse(await readFile(join(release, 'config.json'), 'utf8')) as Json & { text_config: Json })))
    const tensors = [...await readSafetensors(join(release, 'model.safetensors'))].map(([name, tensor]): [string, RawTensor] => [name.replace('language_model.model.', prefix), tensor])
    const other: RawTensor = { dtype: 'BF16', shape: [2], data: new Uint8Array(4) }
    await writeSafetensors(join(dir, 'model.safetensors'), new Map([...tensors, ...others.map((name): [string, RawTensor] => [name, other])]))
    return dir
  }

  it('makes one bundle of all layouts', async () => {
    const { id } = await convertCheckpoint({ checkpoint: release, out: temporary.sub('bundle'), threads: 1 })
    const layouts = [
      await relaid(config => config, 'language_model.model.', ['vision_tower.vision_model.post_layernorm.weight', 'multi_modal_projector.mm_soft_emb_norm.weight']),
      await relaid(config => config, 'model.language_model.', ['model.vision_tower.vision_model.post_layernorm.weight', 'model.multi_modal_projector.mm_soft_emb_norm.weight', 'lm_head.weight']),
      await relaid(({ text_config: text }) => text, 'model.', ['lm_head.weight'])
    ]
    for (const checkpoint of layouts) assert.equal((await convertCheckpoint({ checkpoint, out: temporary.sub('bundle'), threads: 1 })).id, id)
  })

  it('names a tensor that is missing and one that nobody knows', async () => {
    const without = await relaid(({ text_config: text }) => ({ ...text, num_hidden_layers: 8 }), 'model.', [])
    await assert.rejects(convertCheckpoint({ checkpoint: without, out: temporary.sub('bundle') }), modelError('missing-tensor', 'model.layers.7.mlp.up_proj.weight', 'lacks 13 tensors'))
    const biased = await relaid(({ text_config: text }) => text, 'model.', ['model.layers.0.self_attn.q_proj.bias'])
    await assert.rejects(convertCheckpoint({ checkpoint: biased, out: temporary.sub('bundle') }), modelError('unsupported', 'q_proj.bias'))
  })

  it('stores 1 + w of every norm as the reference adds it, and the MLP as the one expert of its layer', async () => {
    const bundle = await convertCheckpoint({ checkpoint: release, out: temporary.sub('bundle'), quant: 'f32', threads: 1 })
    const tensors = await readSafetensors(join(release, 'model.safetensors'))
    const values = (name: string): Float32Array => {
      const { data } = tensors.get(`language_model.model.${name}.weight`) ?? assert.fail(name)
      return Float32Array.from({ length: data.length / 2 }, (_, i) => Buffer.from([0, 0, data[2 * i], data[2 * i + 1]]).readFloatLE())
    }
    const stored = async (entry: Parameters<typeof bundle.read>[0]): Promise<Float32Array> => new Float32Array((await bundle.read(entry)).data.slice().buffer)
    const norms = {
      'layers.5.input_norm': 'layers.5.input_layernorm', 'layers.5.q_norm': 'layers.5.self_attn.q_norm', 'layers.5.k_norm': 'layers.5.self_attn.k_norm',
      'layers.5.post_attention_norm': 'layers.5.post_attention_layernorm', 'layers.5.pre_expert_norm': 'layers.5.pre_feedforward_layernorm',
      'layers.5.post_ffn_norm': 'layers.5.post_feedforward_layernorm', final_norm: 'norm'
    } as const
    for (const [name, source] of Object.entries(norms)) assert.deepEqual(await stored(bundle.tensor(name as keyof typeof norms)), values(source).map(w => w + 1), name)
    assert.deepEqual(await stored(bundle.tensor('embedding')), values('embed_tokens'))
    assert.equal(bundle.blocks.length, 7)
    const [{ gateUp, down }] = bundle.experts(bundle.blocks[6])
    assert.deepEqual(await stored(gateUp), Float32Array.from([...values('layers.6.mlp.gate_proj'), ...values('layers.6.mlp.up_proj')]))
    assert.deepEqual(await stored(down), values('layers.6.mlp.down_proj'))
  })

  it('refuses a manifest that says more of a dense model than there is, or the same in another form', async () => {
    const out = temporary.sub('bundle')
    await convertCheckpoint({ checkpoint: release, out, threads: 1 })
    const text = await readFile(join(out, 'manifest.json'), 'utf8')
    const lies: Array<[(config: ModelConfig) => void, string]> = [
      [config => { config.experts = 2 }, '"experts" is 2'],
      [config => { config.denseIntermediateSize = 64 }, '"denseIntermediateSize" is 64'],
      [config => { config.attention.full.queryScale = 1 }, '"queryScale" is 1'],
      [config => { config.attention.sliding.ropeDivisor = 0 }, '"ropeDivisor" is 0'],
      [config => { config.architecture = 'gemma4' }, '"denseIntermediateSize" is 0']
    ]
    for (const [lie, says] of lies) {
      const manifest = JSON.parse(text) as { config: ModelConfig }
      lie(manifest.config)
      assert.throws(() => parseManifest(canonicalJson(manifest), 'manifest.json'), modelError('malformed', says))
    }
  })
})
