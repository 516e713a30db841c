import type { DrafterConfig, LayerType, ModelConfig } from '../bundle/manifest.js'
import { Fields } from '../fields.js'
import { parseLayerTypes, requireKnownKeys, requireSupported, requireValue } from './gemma-config.js'
import { parseAttention } from './gemma4-config.js'

const CONFIG = "the drafter's config.json"

/**
 * Reads the config.json of a `gemma4_assistant` (drafter.md), which must go with `target`: it reads that model's keys and values as they lie in the cache.
 */
export function parseGemma4Drafter (config: unknown, target: ModelConfig): DrafterConfig {
  const outer = new Fields(config, CONFIG, 'unsupported')
  requireValue(outer, 'model_type', ['gemma4_assistant'], 'only gemma4_assistant drafts for this model')
  requireTarget(outer, 'backbone_hidden_size', target.hiddenSize)
  // Heads over clusters of the vocabulary, which only the smallest models' drafters have.
  requireValue(outer, 'use_ordered_embeddings', [undefined, false], 'a head over clusters of the vocabulary is not supported')
  const text = outer.object('text_config')
  for (const fields of [outer, text]) requireSupported(fields)
  requireSupportedText(text)
  requireTarget(text, 'vocab_size', target.vocabSize)
  const heads = text.integer('num_attention_heads', 1, undefined, 8)
  const layerTypes = parseLayerTypes(text, 4, 4)
  requireValue(text, 'num_kv_shared_layers', [undefined, layerTypes.length], 'all layers must read the keys and values of the model')
  for (const type of new Set(layerTypes)) requireAttention(text, target, type, heads)
  if (layerTypes.includes('sliding')) requireTarget(text, 'sliding_window', target.slidingWindow)
  text.get('max_position_embeddings')
  const parsed = {
    hiddenSize: text.integer('hidden_size'),
    layerTypes,
    heads,
    intermediateSize: text.integer('intermediate_size'),
    rmsNormEps: text.number('rms_norm_eps', 0, 1, 1e-6)
  }
  for (const key of ['bos_token_id', 'eos_token_id', 'head_dim', 'global_head_dim', 'num_key_value_heads', 'num_global_key_value_heads', 'attention_k_eq_v', 'sliding_window', 'rope_parameters',
    'num_experts', 'top_k_experts', 'moe_intermediate_size']) text.get(key)
  requireKnownKeys(text)
  return parsed
}

function requireTarget (fields: Fields, key: string, size: number): void {
  if (fields.integer(key) !== size) throw fields.error(key, `does not go with the model, whose is ${size}: give the drafter that was made for it`)
}

function requireSupportedText (text: Fields): void {
  requireValue(text, 'model_type', ['gemma4_text', undefined], 'only gemma4_text is supported')
  requireValue(text, 'enable_moe_block', [undefined, false], 'only drafters without experts are supported')
  requireValue(text, 'hidden_size_per_layer_input', [undefined, 0], 'per-layer embeddings are not supported')
  requireValue(text, 'use_double_wide_mlp', [undefined, false], 'only a plain MLP is supported')
  requireValue(text, 'attention_bias', [undefined, false], 'projections with a bias are not supported')
  requireValue(text, 'hidden_activation', [undefined, 'gelu_pytorch_tanh'], 'only gelu_pytorch_tanh is supported')
  requireValue(text, 'final_logit_softcapping', [undefined], 'capped logits are not supported')
  requireValue(text, 'use_bidirectional_attention', [undefined, false, 'vision'], 'only causal attention is supported')
}

/** Queries must fit the keys of the model's cache, and be turned as these were. */
function requireAttention (text: Fields, target: ModelConfig, type: LayerType, heads: number): void {
  const own = target.attention[type]
  const ropes = text.has('rope_parameters') ? text.object('rope_parameters') : undefined
  const dimKey = type === 'full' ? 'global_head_dim' : 'head_dim'
  const found = parseAttention(text, dimKey, own.headDim, heads, own.kvHeads, own.valueFromKey, ropes, type)
  if (found.headDim !== own.headDim) throw text.error(dimKey, `does not go with the model, whose ${type} layers have ${own.headDim}`)
  for (const key of ['ropeTheta', 'rotaryFactor'] as const) {
    if (found[key] !== own[key]) throw text.error('rope_parameters', `does not go with the model: its ${type} layers have another ${key}, ${own[key]}`)
  }
  const kvKey = type === 'full' && text.has('num_global_key_value_heads') ? 'num_global_key_value_heads' : 'num_key_value_heads'
  if (text.has(kvKey)) requireTarget(text, kvKey, own.kvHeads)
}
