import type { Fields } from '../fields.js'
import type { GgufFacts, GgufForm } from './architecture.js'
import { gemmaTensors } from './gemma-gguf.js'

/** Divisors of the rotary frequencies: 1 turns a pair, a huge one lets it stand. */
const ROPE_FREQUENCIES = 'rope_freqs.weight'
const FULL_ROPE_BASE = 1_000_000
const SLIDING_ROPE_BASE = 10_000

/** Names and metadata keys of llama.cpp's `gemma4` (gguf-py/gguf/constants.py, conversion/gemma.py). */
export const gemma4Gguf: GgufForm = {
  architecture: 'gemma4',
  tensors: {
    ...gemmaTensors,
    'blk.N.post_ffw_norm_1.weight': 'layers.N.post_feedforward_layernorm_1.weight',
    'blk.N.pre_ffw_norm_2.weight': 'layers.N.pre_feedforward_layernorm_2.weight',
    'blk.N.ffn_gate_inp.weight': 'layers.N.router.proj.weight',
    'blk.N.ffn_gate_inp.scale': 'layers.N.router.scale',
    'blk.N.ffn_down_exps.scale': 'layers.N.router.per_expert_scale',
    'blk.N.ffn_gate_up_exps.weight': 'layers.N.experts.gate_up_proj',
    'blk.N.ffn_down_exps.weight': 'layers.N.experts.down_proj',
    'blk.N.post_ffw_norm_2.weight': 'layers.N.post_feedforward_layernorm_2.weight',
    'blk.N.layer_output_scale.weight': 'layers.N.layer_scalar'
  },
  joined: { 'layers.N.experts.gate_up_proj': ['blk.N.ffn_gate_exps.weight', 'blk.N.ffn_up_exps.weight'] },
  ignored: [ROPE_FREQUENCIES],
  endTokens: ['<eos>', '<turn|>', '<|tool_response>'],
  visibleControlTokens: ['<|channel>', '<channel|>', '<|tool_call>', '<tool_call|>', '<|tool_response>', '<tool_response|>', '<|"|>'],
  config: gemma4Config
}

async function gemma4Config (facts: GgufFacts): Promise<Record<string, unknown>> {
  const { metadata, shapes } = facts
  const key = (name: string): string => `gemma4.${name}`
  const count = (name: string, min = 1): number => metadata.integer(key(name), min)
  const layers = metadata.integer(key('block_count'), 1, 10_000)
  const sliding = metadata.array(key('attention.sliding_window_pattern'))
  if (sliding.length !== layers || sliding.some(value => typeof value !== 'boolean')) {
    throw metadata.error(key('attention.sliding_window_pattern'), `must hold true or false for each of ${layers} layers`)
  }
  const [slidingLayer, fullLayer] = [sliding.indexOf(true), sliding.indexOf(false)]
  const kvHeads = perLayer(metadata, key('attention.head_count_kv'), layers)
  const [headDim, globalHeadDim] = [headSize(metadata, key, '_swa'), headSize(metadata, key, '')]
  return {
    model_type: 'gemma4_text',
    vocab_size: shapes.get('token_embd.weight')?.[0] ?? metadata.array('tokenizer.ggml.tokens').length,
    hidden_size: count('embedding_length'),
    num_hidden_layers: layers,
    layer_types: sliding.map(isSliding => isSliding === true ? 'sliding_attention' : 'full_attention'),
    num_attention_heads: same(metadata, key('attention.head_count'), perLayer(metadata, key('attention.head_count'), layers)),
    num_key_value_heads: same(metadata, key('attention.head_count_kv'), kvHeads.filter((_, layer) => slidingLayer < 0 || sliding[layer] === true)),
    num_global_key_value_heads: same(metadata, key('attention.head_count_kv'), kvHeads.filter((_, layer) => fullLayer < 0 || sliding[layer] === false)),
    // Files say this only by what they lack.
    attention_k_eq_v: !shapes.has(`blk.${fullLayer}.attn_v.weight`),
    head_dim: headDim,
    global_head_dim: globalHeadDim,
    sliding_window: count('attention.sliding_window'),
    intermediate_size: same(metadata, key('feed_forward_length'), perLayer(metadata, key('feed_forward_length'), layers)),
    enable_moe_block: metadata.has(key('expert_count')),
    num_experts: count('expert_count'),
    top_k_experts: count('expert_used_count'),
    moe_intermediate_size: count('expert_feed_forward_length'),
    hidden_size_per_layer_input: metadata.integer(key('embedding_length_per_layer_input'), 0),
    num_kv_shared_layers: metadata.integer(key('attention.shared_kv_layers'), 0, layers, 0),
    hidden_activation: 'gelu_pytorch_tanh',
    rms_norm_eps: metadata.number(key('attention.layer_norm_rms_epsilon'), 0, 1),
    rope_parameters: {
      sliding_attention: { rope_type: 'default', rope_theta: metadata.number(key('rope.freq_base_swa'), 1, 1e12, SLIDING_ROPE_BASE) },
      full_attention: {
        rope_type: 'proportional', rope_theta: metadata.number(key('rope.freq_base'), 1, 1e12, FULL_ROPE_BASE), partial_rotary_factor: await rotaryFactor(facts, globalHeadDim)
      }
    },
    final_logit_softcapping: metadata.has(key('final_logit_softcapping')) ? metadata.number(key('final_logit_softcapping'), 0, 1e6) : null,
    max_position_embeddings: count('context_length'),
    tie_word_embeddings: true
  }
}

/** A value that files write once where all layers have the same. */
function perLayer (metadata: Fields, key: string, layers: number): number[] {
  const value = metadata.get(key)
  if (!Array.isArray(value)) return Array.from({ length: layers }, () => metadata.integer(key))
  if (value.length !== layers || value.some(item => typeof item !== 'number' || item < 1)) throw metadata.error(key, `must hold a count for each of ${layers} layers`)
  return value as number[]
}

function same (metadata: Fields, key: string, values: number[]): number {
  if (values.some(value => value !== values[0])) throw metadata.error(key, 'cannot be run: it must be the same in all layers of a type', 'unsupported')
  return values[0]
}

/** Size of a head; keys, values and the turned part are of one size. */
function headSize (metadata: Fields, key: (name: string) => string, suffix: '' | '_swa'): number {
  const size = metadata.integer(key(`attention.key_length${suffix}`))
  for (const name of [`attention.value_length${suffix}`, `rope.dimension_count${suffix}`]) {
    if (metadata.integer(key(name), 1, undefined, size) !== size) throw metadata.error(key(name), `cannot be run: it must be ${size}, the length of a key`, 'unsupported')
  }
  return size
}

/** The share of pairs that full layers turn: the leading ones of the file's divisors. All, where it has none. */
async function rotaryFactor ({ metadata, values }: GgufFacts, headDim: number): Promise<number> {
  const divisors = await values(ROPE_FREQUENCIES)
  if (divisors == null) return 1
  const turned = divisors.findIndex(divisor => divisor !== 1)
  const pairs = turned < 0 ? divisors.length : turned
  if (divisors.length !== headDim / 2 || divisors.subarray(pairs).some(divisor => divisor < 1e20)) {
    throw metadata.error(ROPE_FREQUENCIES, `cannot be run: it must hold ${headDim / 2} divisors, ones first and then huge ones`, 'unsupported')
  }
  return pairs / divisors.length
}
