import type { AttentionConfig, LayerType, ModelConfig } from '../bundle/manifest.js'
import { Fields } from '../fields.js'
import { DEFAULT_SAMPLING, parseLayerTypes, parseTokens, requireGeometry, requireKnownKeys, requireSupported, requireValue } from './gemma-config.js'

const CONFIG = 'config.json'

/** Without `layer_types`, every sixth layer is full. */
const DEFAULT_PERIOD = 6

const ROPE_DEFAULTS: Record<LayerType, { type: string, theta: number, factor: number }> = {
  sliding: { type: 'default', theta: 10_000, factor: 1 },
  full: { type: 'proportional', theta: 1_000_000, factor: 0.25 }
}

/**
 * Reads the config.json of a Gemma 4 mixture-of-experts model (`gemma4` with a `text_config`, or a bare `gemma4_text`). A key that
 * is absent has the default of the model's own configuration class.
 */
export function parseGemma4Config (config: unknown, generation: unknown): ModelConfig {
  const outer = new Fields(config, CONFIG, 'unsupported')
  const bare = outer.string('model_type') === 'gemma4_text'
  const text = bare ? outer : outer.object('text_config')
  for (const fields of bare ? [outer] : [outer, text]) requireSupported(fields)
  requireSupportedText(text)

  const hiddenSize = text.integer('hidden_size', 1, undefined, 2304)
  const heads = text.integer('num_attention_heads', 1, undefined, 8)
  const kvHeads = text.integer('num_key_value_heads', 1, undefined, 4)
  const keyIsValue = text.boolean('attention_k_eq_v', false)
  // The class uses the global head count only where keys double as values.
  const globalKvHeads = text.integer('num_global_key_value_heads', 1, undefined, kvHeads)
  const ropes = text.has('rope_parameters') ? text.object('rope_parameters') : undefined
  const experts = text.integer('num_experts', 1, 65_535)
  const vocabSize = text.integer('vocab_size', 1, undefined, 262_144)
  const parsed: ModelConfig = {
    architecture: 'gemma4',
    vocabSize,
    hiddenSize,
    layerTypes: layerTypesOf(text),
    attention: {
      sliding: parseAttention(text, 'head_dim', 256, heads, kvHeads, false, ropes, 'sliding'),
      full: parseAttention(text, 'global_head_dim', 512, heads, keyIsValue ? globalKvHeads : kvHeads, keyIsValue, ropes, 'full')
    },
    slidingWindow: text.integer('sliding_window', 1, undefined, 512),
    denseIntermediateSize: text.integer('intermediate_size', 1, undefined, 9216),
    experts,
    topK: text.integer('top_k_experts', 1, experts),
    expertIntermediateSize: text.integer('moe_intermediate_size'),
    rmsNormEps: text.number('rms_norm_eps', 0, 1, 1e-6),
    embeddingScale: Math.fround(Math.sqrt(hiddenSize)),
    logitSoftcap: text.has('final_logit_softcapping') ? text.number('final_logit_softcapping', 0, 1e6) : 0,
    maxPositions: text.integer('max_position_embeddings', 1, undefined, 131_072),
    bosTokenId: 0,
    eosTokenIds: [],
    sampling: DEFAULT_SAMPLING
  }
  Object.assign(parsed, parseTokens(bare ? [text] : [text, outer], generation, vocabSize))
  requireKnownKeys(text)
  return parsed
}

function requireSupportedText (text: Fields): void {
  requireValue(text, 'model_type', ['gemma4_text', undefined], 'only gemma4_text is supported')
  requireValue(text, 'enable_moe_block', [true], 'only models with experts in every layer are supported')
  requireValue(text, 'hidden_size_per_layer_input', [0], 'per-layer embeddings are not supported (absent means 256)')
  requireValue(text, 'num_kv_shared_layers', [undefined, 0], 'sharing of keys and values between layers is not supported')
  requireValue(text, 'use_double_wide_mlp', [undefined, false], 'only a plain dense MLP is supported')
  requireValue(text, 'attention_bias', [undefined, false], 'projections with a bias are not supported')
  requireValue(text, 'hidden_activation', [undefined, 'gelu_pytorch_tanh'], 'only gelu_pytorch_tanh is supported')
  // "vision" lets the tokens of one image see each other; in a text nothing changes.
  requireValue(text, 'use_bidirectional_attention', [undefined, false, 'vision'], 'only causal attention is supported')
}

function layerTypesOf (text: Fields): LayerType[] {
  // Older files repeat here what layer_types says.
  requireValue(text, 'sliding_window_pattern', text.has('layer_types') ? [text.get('sliding_window_pattern')] : [undefined, DEFAULT_PERIOD], 'without layer_types only 6 is supported')
  const types = parseLayerTypes(text, 30, DEFAULT_PERIOD)
  // The model's own configuration class forces this, whatever the file says.
  types[types.length - 1] = 'full'
  return types
}

export function parseAttention (text: Fields, dimKey: string, defaultDim: number, heads: number, kvHeads: number, valueFromKey: boolean, ropes: Fields | undefined, type: LayerType): AttentionConfig {
  const headDim = text.integer(dimKey, 2, undefined, defaultDim)
  requireGeometry(text, dimKey, headDim, heads, kvHeads, type)
  return { heads, kvHeads, headDim, ...parseRope(ropes, type), valueFromKey }
}

function parseRope (ropes: Fields | undefined, type: LayerType): { ropeTheta: number, rotaryFactor: number } {
  const defaults = ROPE_DEFAULTS[type]
  const key = `${type}_attention`
  if (ropes?.has(key) !== true) return { ropeTheta: defaults.theta, rotaryFactor: defaults.factor }
  const rope = ropes.object(key)
  // Files of older versions of transformers call it `type`.
  const kind = rope.get('rope_type') ?? rope.get('type') ?? 'default'
  if (kind !== 'default' && !(kind === 'proportional' && type === 'full')) {
    throw rope.error('rope_type', `cannot be run: ${type} layers support ${type === 'full' ? 'default and proportional' : 'only default'}`)
  }
  requireValue(rope, 'factor', [undefined, 1], 'scaled rotary embeddings are not supported')
  const rotaryFactor = rope.number('partial_rotary_factor', 0, 1, 1)
  if (kind === 'default' && rotaryFactor !== 1) throw rope.error('partial_rotary_factor', 'cannot be run: it needs rope_type "proportional"')
  const ropeTheta = rope.number('rope_theta', 1, 1e12, defaults.theta)
  const [unknown] = rope.unread()
  if (unknown != null) throw rope.error(unknown, 'is not known to this version; it may change the results')
  return { ropeTheta, rotaryFactor }
}
