import type { GgufFacts, GgufForm } from './architecture.js'
import { gemmaTensors } from './gemma-gguf.js'

/** Every sixth layer is a full one: llama.cpp knows it by the architecture, unless a file says otherwise. */
const FULL_PERIOD = 6
const FULL_ROPE_BASE = 1_000_000
const SLIDING_ROPE_BASE = 10_000

/** Of the 27B release, by which llama.cpp tells that its queries are scaled by the model's width (src/models/gemma3.cpp). */
const LAYERS_27B = 62

/** Names and metadata keys of llama.cpp's `gemma3` (gguf-py/gguf/constants.py, class Gemma3Model of its converter). */
export const gemma3Gguf: GgufForm = {
  architecture: 'gemma3',
  tensors: gemmaTensors,
  normsWhole: true,
  joined: {},
  ignored: [],
  endTokens: ['<eos>', '<end_of_turn>'],
  visibleControlTokens: [],
  config: async facts => gemma3Config(facts)
}

/** What scores are divided by the root of; no file says it. */
export function ggufQueryScalar ({ layers, hiddenSize, heads, headDim }: { layers: number, hiddenSize: number, heads: number, headDim: number }): number {
  return layers === LAYERS_27B ? hiddenSize / heads : headDim
}

function gemma3Config ({ metadata, shapes }: GgufFacts): Record<string, unknown> {
  const key = (name: string): string => `gemma3.${name}`
  const count = (name: string, fallback?: number): number => metadata.integer(key(name), 1, undefined, fallback)
  const [layers, hiddenSize, heads] = [count('block_count'), count('embedding_length'), count('attention.head_count', 8)]
  const headDim = count('attention.key_length', 256)
  for (const name of ['attention.value_length', 'rope.dimension_count']) {
    if (count(name, headDim) !== headDim) throw metadata.error(key(name), `cannot be run: it must be ${headDim}, the length of a key`, 'unsupported')
  }
  if (metadata.has(key('attn_logit_softcapping'))) throw metadata.error(key('attn_logit_softcapping'), 'cannot be run: a soft cap on attention scores is not supported', 'unsupported')
  // A file without a window has full layers only.
  const windowed = metadata.has(key('attention.sliding_window'))
  return {
    model_type: 'gemma3_text',
    vocab_size: shapes.get('token_embd.weight')?.[0] ?? metadata.array('tokenizer.ggml.tokens').length,
    hidden_size: hiddenSize,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: count('attention.head_count_kv', 4),
    head_dim: headDim,
    query_pre_attn_scalar: ggufQueryScalar({ layers, hiddenSize, heads, headDim }),
    intermediate_size: count('feed_forward_length'),
    ...windowed ? { sliding_window: count('attention.sliding_window') } : {},
    sliding_window_pattern: windowed ? count('attention.sliding_window_pattern', FULL_PERIOD) : 1,
    hidden_activation: 'gelu_pytorch_tanh',
    rms_norm_eps: metadata.number(key('attention.layer_norm_rms_epsilon'), 0, 1),
    rope_theta: metadata.number(key('rope.freq_base'), 1, 1e12, FULL_ROPE_BASE),
    rope_local_base_freq: metadata.number(key('rope.freq_base_swa'), 1, 1e12, SLIDING_ROPE_BASE),
    ...scaling(metadata, key),
    final_logit_softcapping: metadata.has(key('final_logit_softcapping')) ? metadata.number(key('final_logit_softcapping'), 0, 1e6) : null,
    max_position_embeddings: count('context_length'),
    tie_word_embeddings: true
  }
}

function scaling (metadata: GgufFacts['metadata'], key: (name: string) => string): { rope_scaling?: { rope_type: string, factor: number } } {
  const type = metadata.has(key('rope.scaling.type')) ? metadata.string(key('rope.scaling.type')) : 'none'
  if (type === 'none') return {}
  if (type !== 'linear') throw metadata.error(key('rope.scaling.type'), 'cannot be run: only linear is supported', 'unsupported')
  return { rope_scaling: { rope_type: 'linear', factor: metadata.number(key('rope.scaling.factor'), 1e-3, 1e6) } }
}
