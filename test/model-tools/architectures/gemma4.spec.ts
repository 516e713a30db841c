import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gemma4 } from '../../../model-tools/architectures/gemma4.js'
import { architectureOfCheckpoint } from '../../../model-tools/architectures/index.js'
import { LAYER_TENSORS } from '../../../model-tools/architectures/tensors.js'
import { expertTensors } from '../../../model-tools/bundle/conversion-plan.js'
import type { LayerType, WeightFormat } from '../../../model-tools/bundle/manifest.js'
import { WEIGHT_FORMATS } from '../../../model-tools/quantize/rows.js'
import { DEMO_MODEL, modelError } from '../fixtures.js'

type Json = Record<string, unknown>

const readDemo = (name: string): Json => JSON.parse(readFileSync(join(DEMO_MODEL, name), 'utf8')) as Json

/** config.json of the release, as gemma4-spec records it, with the vision and token keys that multimodal configs have. */
const RELEASE_TEXT: Json = {
  attention_bias: false, attention_dropout: 0, attention_k_eq_v: true, bos_token_id: 2, dtype: 'bfloat16', enable_moe_block: true, eos_token_id: 1,
  final_logit_softcapping: 30, global_head_dim: 512, head_dim: 256, hidden_activation: 'gelu_pytorch_tanh', hidden_size: 2816, hidden_size_per_layer_input: 0,
  initializer_range: 0.02, intermediate_size: 2112, layer_types: Array.from({ length: 30 }, (_, layer) => layer % 6 === 5 ? 'full_attention' : 'sliding_attention'),
  max_position_embeddings: 262144, model_type: 'gemma4_text', moe_intermediate_size: 704, num_attention_heads: 16, num_experts: 128, num_global_key_value_heads: 2,
  num_hidden_layers: 30, num_key_value_heads: 8, num_kv_shared_layers: 0, pad_token_id: 0, rms_norm_eps: 1e-6,
  rope_parameters: {
    full_attention: { partial_rotary_factor: 0.25, rope_theta: 1_000_000, rope_type: 'proportional' },
    sliding_attention: { rope_theta: 10_000, rope_type: 'default' }
  },
  sliding_window: 1024, tie_word_embeddings: true, top_k_experts: 8, use_bidirectional_attention: 'vision', use_cache: true, use_double_wide_mlp: false,
  vocab_size: 262144, vocab_size_per_layer_input: 262144
}
const RELEASE: Json = {
  architectures: ['Gemma4ForConditionalGeneration'], audio_config: null, boi_token_id: 255999, dtype: 'bfloat16', eos_token_id: [1, 106], image_token_id: 258880,
  model_type: 'gemma4', text_config: RELEASE_TEXT, tie_word_embeddings: true, transformers_version: '5.5.0', vision_config: { model_type: 'gemma4_vision' }, vision_soft_tokens_per_image: 280
}
const GENERATION: Json = { bos_token_id: 2, do_sample: true, eos_token_id: [1, 106, 50], pad_token_id: 0, temperature: 1, top_k: 64, top_p: 0.95, transformers_version: '5.5.0' }

/** The release with changes to its text config; undefined removes a key. */
const changed = (changes: Json): Json => ({ ...RELEASE, text_config: JSON.parse(JSON.stringify({ ...RELEASE_TEXT, ...changes })) as Json })

describe('architectures/gemma4', () => {
  it('understands the configuration of the 26B-A4B release', () => {
    assert.deepEqual(gemma4.parseConfig(RELEASE, GENERATION), {
      architecture: 'gemma4',
      vocabSize: 262144,
      hiddenSize: 2816,
      layerTypes: Array.from({ length: 30 }, (_, layer): LayerType => layer % 6 === 5 ? 'full' : 'sliding'),
      attention: {
        sliding: { heads: 16, kvHeads: 8, headDim: 256, ropeTheta: 10_000, rotaryFactor: 1, valueFromKey: false },
        full: { heads: 16, kvHeads: 2, headDim: 512, ropeTheta: 1_000_000, rotaryFactor: 0.25, valueFromKey: true }
      },
      slidingWindow: 1024,
      denseIntermediateSize: 2112,
      experts: 128,
      topK: 8,
      expertIntermediateSize: 704,
      rmsNormEps: 1e-6,
      embeddingScale: 53.06599807739258, // sqrt(2816) in float32
      logitSoftcap: 30,
      maxPositions: 262144,
      bosTokenId: 2,
      eosTokenIds: [1, 50, 106],
      sampling: { temperature: 1, topK: 64, topP: 0.95 }
    })
  })

  it('counts the release\'s text tensors and parameters', () => {
    const config = gemma4.parseConfig(RELEASE, GENERATION)
    const sources = gemma4.clientTensors(config, 'q4').flatMap(plan => plan.sources)
    const experts = config.layerTypes.flatMap((_, layer) => expertTensors(gemma4, config, layer))
    const all = [...sources, ...experts]
    assert.equal(all.length, 657)
    assert.equal(new Set(all.map(({ name }) => name)).size, 657)
    assert.equal(all.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0), 25_233_141_790)
  })

  it('understands the demo model', () => {
    const config = gemma4.parseConfig(readDemo('config.json'), readDemo('generation_config.json'))
    assert.equal(config.hiddenSize, 192)
    assert.equal(config.embeddingScale, Math.fround(Math.sqrt(192)))
    assert.deepEqual(config.layerTypes, ['sliding', 'sliding', 'sliding', 'sliding', 'sliding', 'full'])
    assert.deepEqual(config.attention.full, { heads: 4, kvHeads: 1, headDim: 64, ropeTheta: 1e6, rotaryFactor: 0.25, valueFromKey: true })
    assert.deepEqual(config.eosTokenIds, [1, 50, 106])
    assert.deepEqual(config.sampling, { temperature: 0.8, topK: 64, topP: 0.95 })
  })

  it('reads a bare text config like one inside of a multimodal config', () => {
    assert.deepEqual(gemma4.parseConfig({ ...RELEASE_TEXT, eos_token_id: [1, 106], architectures: ['Gemma4ForCausalLM'] }, GENERATION), gemma4.parseConfig(RELEASE, GENERATION))
  })

  it('gives absent keys the defaults of the configuration class', () => {
    const config = gemma4.parseConfig({
      model_type: 'gemma4', text_config: { enable_moe_block: true, hidden_size_per_layer_input: 0, num_experts: 4, top_k_experts: 2, moe_intermediate_size: 32 }
    }, undefined)
    assert.equal(config.hiddenSize, 2304)
    assert.equal(config.layerTypes.length, 30)
    assert.deepEqual(config.layerTypes.map((type, layer) => type === 'full' ? layer : -1).filter(layer => layer >= 0), [5, 11, 17, 23, 29])
    assert.deepEqual(config.attention.sliding, { heads: 8, kvHeads: 4, headDim: 256, ropeTheta: 10_000, rotaryFactor: 1, valueFromKey: false })
    assert.deepEqual(config.attention.full, { heads: 8, kvHeads: 4, headDim: 512, ropeTheta: 1e6, rotaryFactor: 0.25, valueFromKey: false })
    assert.equal(config.slidingWindow, 512)
    assert.equal(config.logitSoftcap, 0)
    assert.deepEqual([config.bosTokenId, config.eosTokenIds], [2, [1]])
    assert.deepEqual(config.sampling, { temperature: 1, topK: 64, topP: 0.95 })
  })

  it('uses the global key/value heads only where keys double as values', () => {
    const { full } = gemma4.parseConfig(changed({ attention_k_eq_v: false }), GENERATION).attention
    assert.equal(full.kvHeads, 8)
    assert.equal(full.valueFromKey, false)
  })

  it('makes the last layer a full one, as the configuration class does', () => {
    const { layerTypes } = gemma4.parseConfig(changed({ num_hidden_layers: 2, layer_types: ['full_attention', 'sliding_attention'] }), GENERATION)
    assert.deepEqual(layerTypes, ['full', 'full'])
  })

  const rope = (changes: Json): Json => ({ rope_parameters: { full_attention: { rope_theta: 1e6, rope_type: 'proportional', partial_rotary_factor: 0.25, ...changes } } })
  const refused: Array<[Json, string]> = [
    [{ hidden_size_per_layer_input: 256 }, '"hidden_size_per_layer_input" is 256'],
    [{ hidden_size_per_layer_input: undefined }, '"hidden_size_per_layer_input"'],
    [{ num_kv_shared_layers: 10 }, '"num_kv_shared_layers" is 10'],
    [{ use_double_wide_mlp: true }, '"use_double_wide_mlp" is true'],
    [{ attention_bias: true }, '"attention_bias" is true'],
    [{ hidden_activation: 'silu' }, '"hidden_activation" is "silu"'],
    [{ enable_moe_block: false }, '"enable_moe_block" is false'],
    [{ enable_moe_block: undefined }, '"enable_moe_block"'],
    [{ tie_word_embeddings: false }, '"tie_word_embeddings" is false'],
    [{ use_bidirectional_attention: 'all' }, '"use_bidirectional_attention" is "all"'],
    [{ quantization_config: { bits: 4 } }, '"quantization_config"'],
    [{ model_type: 'gemma3_text' }, '"model_type" is "gemma3_text"'],
    [{ attn_logit_softcapping: 50, query_pre_attn_scalar: 1 }, '"attn_logit_softcapping" is 50 and is not known to this version (nor are query_pre_attn_scalar)'],
    [{ hidden_size: 0 }, '"hidden_size" is 0'],
    [{ hidden_size: 2816.5 }, '"hidden_size" is 2816.5'],
    [{ hidden_size: '2816' }, '"hidden_size" is "2816"'],
    [{ num_experts: undefined }, '"num_experts"'],
    [{ top_k_experts: 129 }, '"top_k_experts" is 129'],
    [{ num_attention_heads: 12 }, '"num_attention_heads" is 12'],
    [{ head_dim: 255 }, '"head_dim" is 255'],
    [{ layer_types: ['full_attention'] }, '"layer_types"'],
    [{ layer_types: Array.from({ length: 30 }, () => 'chunked_attention') }, '"layer_types"'],
    [{ layer_types: undefined, sliding_window_pattern: 4 }, '"sliding_window_pattern" is 4'],
    [{ eos_token_id: 262144 }, '"eos_token_id" is 262144'],
    [rope({ rope_type: 'yarn' }), '"rope_type" is "yarn"'],
    [rope({ factor: 8 }), '"factor" is 8'],
    [rope({ rope_type: 'default' }), '"partial_rotary_factor" is 0.25'],
    [rope({ beta_fast: 32 }), '"beta_fast" is 32'],
    [{ rope_parameters: { sliding_attention: { rope_type: 'proportional', rope_theta: 1e4 } } }, '"rope_type" is "proportional"']
  ]
  for (const [changes, says] of refused) {
    it(`refuses ${JSON.stringify(changes).slice(0, 100)}${Object.values(changes).includes(undefined) ? ` without ${Object.keys(changes)[0]}` : ''}`, () => {
      assert.throws(() => gemma4.parseConfig(changed(changes), GENERATION), modelError('unsupported', 'config.json', says))
    })
  }

  it('refuses what the outer config asks for', () => {
    assert.throws(() => gemma4.parseConfig({ ...RELEASE, tie_word_embeddings: false }, GENERATION), modelError('unsupported', '"tie_word_embeddings"'))
    assert.throws(() => gemma4.parseConfig(RELEASE, { ...GENERATION, temperature: 'hot' }), modelError('unsupported', 'generation_config.json', '"temperature"'))
    assert.throws(() => gemma4.parseConfig({ model_type: 'gemma4' }, GENERATION), modelError('unsupported', 'text_config'))
  })

  it('takes a rope factor of 1 and older names of keys', () => {
    const config = gemma4.parseConfig(changed({ ...rope({ factor: 1 }), sliding_window_pattern: 6 }), GENERATION)
    assert.deepEqual(config, gemma4.parseConfig(RELEASE, GENERATION))
  })

  it('chooses formats by quant', () => {
    const config = gemma4.parseConfig(RELEASE, GENERATION)
    const expected: Record<WeightFormat, { embedding: WeightFormat, matrices: WeightFormat }> = {
      f32: { embedding: 'f32', matrices: 'f32' }, f16: { embedding: 'f16', matrices: 'f16' }, q8: { embedding: 'q8', matrices: 'q8' }, q4: { embedding: 'q8', matrices: 'q4' },
      u4: { embedding: 'q8', matrices: 'u4' }
    }
    const matrices = ['qkv', 'o', 'dense_gate_up', 'dense_down']
    for (const quant of WEIGHT_FORMATS) {
      const formats = new Map(gemma4.clientTensors(config, quant).map(({ name, format }) => [name, format]))
      assert.equal(formats.get('embedding'), expected[quant].embedding)
      assert.equal(formats.get('final_norm'), 'f32')
      assert.equal(formats.get('head'), quant === 'u4' ? 'u4' : undefined)
      for (const name of LAYER_TENSORS) assert.equal(formats.get(`layers.5.${name}`), matrices.includes(name) ? expected[quant].matrices : 'f32', `${quant} ${name}`)
    }
  })

  it('joins projections in a stated order', () => {
    const config = gemma4.parseConfig(RELEASE, GENERATION)
    const plans = new Map(gemma4.clientTensors(config, 'q4').map(plan => [plan.name, plan]))
    const names = (name: string): string[] | undefined => plans.get(name)?.sources.map(source => source.name.split('.').at(-2) ?? '')
    assert.deepEqual(names('layers.0.qkv'), ['q_proj', 'k_proj', 'v_proj'])
    assert.deepEqual(plans.get('layers.0.qkv')?.shape, [8192, 2816])
    assert.deepEqual(names('layers.5.qkv'), ['q_proj', 'k_proj'])
    assert.deepEqual(plans.get('layers.5.qkv')?.shape, [9216, 2816])
    assert.deepEqual(names('layers.0.dense_gate_up'), ['gate_proj', 'up_proj'])
    assert.deepEqual(plans.get('layers.5.o')?.shape, [2816, 8192])
  })

  it('is found by model_type', () => {
    assert.equal(architectureOfCheckpoint(RELEASE), gemma4)
    assert.equal(architectureOfCheckpoint({ model_type: 'gemma4_text' }), gemma4)
    assert.throws(() => architectureOfCheckpoint({ model_type: 'mixtral' }), modelError('unsupported', '"mixtral"', 'gemma4'))
    assert.throws(() => architectureOfCheckpoint({}), modelError('unsupported', 'model_type'))
    assert.throws(() => architectureOfCheckpoint([]), modelError('malformed', 'config.json'))
  })
})
