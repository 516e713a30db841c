import type { AttentionConfig, ModelConfig } from '../bundle/manifest.js'
import { Fields } from '../fields.js'
import { DEFAULT_SAMPLING, parseLayerTypes, parseTokens, requireGeometry, requireKnownKeys, requireSupported, requireValue } from './gemma-config.js'

const CONFIG = 'config.json'

/** Keys of this generation that say nothing about a text, beside those that all Gemmas have. */
const IRRELEVANT_KEYS = ['boi_token_index', 'eoi_token_index', 'image_token_index', 'mm_tokens_per_image', '_sliding_window_pattern']

/** Defaults of transformers' class Gemma3TextConfig. The release's config.json leaves most keys out. */
const DEFAULTS = {
  vocab_size: 262_208, hidden_size: 2304, intermediate_size: 9216, num_hidden_layers: 26, num_attention_heads: 8, num_key_value_heads: 4, head_dim: 256,
  max_position_embeddings: 131_072, rms_norm_eps: 1e-6, query_pre_attn_scalar: 256, sliding_window: 4096, sliding_window_pattern: 6, rope_theta: 1_000_000, rope_local_base_freq: 10_000
}

/**
 * Reads the config.json of a Gemma 3 model (`gemma3` with a `text_config`, or a bare `gemma3_text`). A key that is absent has the
 * default of the model's own configuration class. Every layer's MLP becomes the layer's one expert.
 */
export function parseGemma3Config (config: unknown, generation: unknown): ModelConfig {
  const outer = new Fields(config, CONFIG, 'unsupported')
  const bare = outer.string('model_type') === 'gemma3_text'
  const text = bare ? outer : outer.object('text_config')
  for (const fields of bare ? [outer] : [outer, text]) requireSupported(fields)
  requireSupportedText(text)

  const size = (key: keyof typeof DEFAULTS, min = 1): number => text.integer(key, min, undefined, DEFAULTS[key])
  const hiddenSize = size('hidden_size')
  const vocabSize = size('vocab_size')
  const parsed: ModelConfig = {
    architecture: 'gemma3',
    vocabSize,
    hiddenSize,
    layerTypes: parseLayerTypes(text, DEFAULTS.num_hidden_layers, periodOf(text)),
    attention: parseAttention(text, size('num_attention_heads'), size('num_key_value_heads'), size('head_dim', 2)),
    slidingWindow: size('sliding_window'),
    denseIntermediateSize: 0,
    experts: 1,
    topK: 1,
    expertIntermediateSize: size('intermediate_size'),
    rmsNormEps: text.number('rms_norm_eps', 0, 1, DEFAULTS.rms_norm_eps),
    embeddingScale: Math.fround(Math.sqrt(hiddenSize)),
    logitSoftcap: text.has('final_logit_softcapping') ? text.number('final_logit_softcapping', 0, 1e6) : 0,
    maxPositions: size('max_position_embeddings'),
    bosTokenId: 0,
    eosTokenIds: [],
    sampling: DEFAULT_SAMPLING
  }
  Object.assign(parsed, parseTokens(bare ? [text] : [text, outer], generation, vocabSize))
  for (const key of IRRELEVANT_KEYS) text.get(key)
  requireKnownKeys(text)
  return parsed
}

function requireSupportedText (text: Fields): void {
  requireValue(text, 'model_type', ['gemma3_text', undefined], 'only gemma3_text is supported')
  requireValue(text, 'attention_bias', [undefined, false], 'projections with a bias are not supported')
  requireValue(text, 'hidden_activation', [undefined, 'gelu_pytorch_tanh'], 'only gelu_pytorch_tanh is supported')
  requireValue(text, 'attn_logit_softcapping', [undefined], 'a soft cap on attention scores is not supported')
  requireValue(text, 'use_bidirectional_attention', [undefined, false], 'only causal attention is supported')
}

/** Unlike in Gemma 4, nothing makes the last layer a full one. */
function periodOf (text: Fields): number {
  const period = text.integer('sliding_window_pattern', 1, undefined, DEFAULTS.sliding_window_pattern)
  // Written by newer versions of transformers, beside layer_types, and read by none.
  if (!text.has('layer_types')) requireValue(text, '_sliding_window_pattern', [undefined, period], `without layer_types only ${period} is supported`)
  return period
}

function parseAttention (text: Fields, heads: number, kvHeads: number, headDim: number): ModelConfig['attention'] {
  requireGeometry(text, 'head_dim', headDim, heads, kvHeads, 'sliding')
  const scalar = text.number('query_pre_attn_scalar', 1e-6, 1e9, DEFAULTS.query_pre_attn_scalar)
  const queryScale = Math.fround(scalar ** -0.5)
  const shared = { heads, kvHeads, headDim, rotaryFactor: 1, valueFromKey: false, ...queryScale === 1 ? {} : { queryScale } }
  const ropes = text.has('rope_parameters') ? text.object('rope_parameters') : undefined
  if (ropes != null) requireValue(text, 'rope_scaling', [undefined], 'rope_parameters says what it does')
  const full = ropes == null ? objectIn(text, 'rope_scaling') : objectIn(ropes, 'full_attention')
  const sliding = ropes == null ? undefined : objectIn(ropes, 'sliding_attention')
  const [unknown] = ropes?.unread() ?? []
  if (ropes != null && unknown != null) throw ropes.error(unknown, 'is not known to this version; it may change the results')
  return {
    sliding: { ...shared, ...parseRope(sliding, text.number('rope_local_base_freq', 1, 1e12, DEFAULTS.rope_local_base_freq)) },
    full: { ...shared, ...parseRope(full, text.number('rope_theta', 1, 1e12, DEFAULTS.rope_theta)) }
  }
}

function objectIn (fields: Fields, key: string): Fields | undefined {
  return fields.has(key) ? fields.object(key) : undefined
}

/** One layer type's rotary embedding, plain or with "linear" scaling. `theta` is the base where `rope` has none. */
function parseRope (rope: Fields | undefined, theta: number): Pick<AttentionConfig, 'ropeTheta' | 'ropeDivisor'> {
  if (rope == null) return { ropeTheta: theta }
  // Files of older versions of transformers call it `type`.
  const [kind, alias] = [rope.get('rope_type'), rope.get('type')]
  const named = kind ?? alias ?? 'default'
  if (named !== 'default' && named !== 'linear') throw rope.error(kind === undefined ? 'type' : 'rope_type', 'cannot be run: only default and linear are supported')
  requireValue(rope, 'partial_rotary_factor', [undefined, 1], 'only whole heads can be turned')
  const factor = rope.number('factor', 1e-3, 1e6, named === 'linear' ? undefined : 1)
  if (named === 'default' && factor !== 1) throw rope.error('factor', 'cannot be run: it needs rope_type "linear"')
  const ropeTheta = rope.number('rope_theta', 1, 1e12, theta)
  const [unknown] = rope.unread()
  if (unknown != null) throw rope.error(unknown, 'is not known to this version; it may change the results')
  return { ropeTheta, ...factor === 1 ? {} : { ropeDivisor: factor } }
}
