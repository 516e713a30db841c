import type { AttentionConfig, LayerType, ModelConfig } from '../bundle/manifest.js'
import { Fields } from '../fields.js'

const CONFIG = 'config.json'

/** Keys of a text config that say nothing about the forward pass of a text, or that repeat what the outer config says. */
const IRRELEVANT_KEYS = [
  '_name_or_path', 'architectures', 'attention_dropout', 'audio_token_id', 'boa_token_id', 'boi_token_id', 'cache_implementation', 'chunk_size_feed_forward', 'dtype',
  'eoa_token_id', 'eoi_token_id', 'id2label', 'image_token_id', 'initializer_range', 'is_encoder_decoder', 'label2id', 'output_attentions', 'output_hidden_states',
  'pad_token_id', 'problem_type', 'return_dict', 'torch_dtype', 'transformers_version', 'use_cache', 'video_token_id', 'vocab_size_per_layer_input'
]

const LAYER_TYPES: Record<string, LayerType> = { sliding_attention: 'sliding', full_attention: 'full' }
/** Without `layer_types`, every sixth layer is full. */
const DEFAULT_PERIOD = 6

const ROPE_DEFAULTS: Record<LayerType, { type: string, theta: number, factor: number }> = {
  sliding: { type: 'default', theta: 10_000, factor: 1 },
  full: { type: 'proportional', theta: 1_000_000, factor: 0.25 }
}

/** Sampling of the released generation_config.json, for checkpoints without one. */
const DEFAULT_SAMPLING = { temperature: 1, topK: 64, topP: 0.95 }

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
    layerTypes: parseLayerTypes(text),
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

/** Options that may stand in either config. */
function requireSupported (fields: Fields): void {
  requireValue(fields, 'tie_word_embeddings', [undefined, true], 'only tied embeddings are supported')
  requireValue(fields, 'quantization_config', [undefined], 'only unquantised checkpoints can be converted')
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

function requireValue (fields: Fields, key: string, allowed: unknown[], problem: string): void {
  if (!allowed.includes(fields.get(key))) throw fields.error(key, `cannot be run: ${problem}`)
}

/** A key that we have never heard of may change the mathematics, so the converter stops instead of producing a subtly wrong model. */
function requireKnownKeys (text: Fields): void {
  for (const key of [...IRRELEVANT_KEYS, 'text_config', 'vision_config', 'audio_config']) text.get(key)
  const unknown = text.unread()
  if (unknown.length > 0) {
    throw text.error(unknown[0], `is not known to this version${unknown.length > 1 ? ` (nor are ${unknown.slice(1).join(', ')})` : ''}; it may change the results, so this checkpoint cannot be converted`)
  }
}

function parseLayerTypes (text: Fields): LayerType[] {
  const layers = text.integer('num_hidden_layers', 1, 10_000, 30)
  const named = text.has('layer_types') ? text.array('layer_types') : undefined
  // Older files repeat here what layer_types says.
  requireValue(text, 'sliding_window_pattern', named == null ? [undefined, DEFAULT_PERIOD] : [text.get('sliding_window_pattern')], 'without layer_types only 6 is supported')
  if (named != null && named.length !== layers) throw text.error('layer_types', `must have ${layers} entries, one a layer`)
  const types = Array.from({ length: layers }, (_, layer): LayerType => {
    if (named == null) return (layer + 1) % DEFAULT_PERIOD === 0 ? 'full' : 'sliding'
    const type = named[layer]
    if (typeof type !== 'string' || !Object.hasOwn(LAYER_TYPES, type)) throw text.error('layer_types', `has an entry other than ${Object.keys(LAYER_TYPES).join(' and ')}`)
    return LAYER_TYPES[type]
  })
  // The model's own configuration class forces this, whatever the file says.
  types[layers - 1] = 'full'
  return types
}

function parseAttention (text: Fields, dimKey: string, defaultDim: number, heads: number, kvHeads: number, valueFromKey: boolean, ropes: Fields | undefined, type: LayerType): AttentionConfig {
  const headDim = text.integer(dimKey, 2, undefined, defaultDim)
  if (headDim % 2 !== 0) throw text.error(dimKey, 'must be even, as rotary embedding turns pairs')
  if (heads % kvHeads !== 0) throw text.error('num_attention_heads', `must be a multiple of the ${kvHeads} key/value heads of ${type} layers`)
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

function parseTokens (configs: Fields[], generation: unknown, vocabSize: number): Pick<ModelConfig, 'bosTokenId' | 'eosTokenIds' | 'sampling'> {
  const generationFields = generation === undefined ? [] : [new Fields(generation, 'generation_config.json', 'unsupported')]
  const all = [...configs, ...generationFields]
  const [bosOwner = configs[0]] = all.filter(fields => fields.has('bos_token_id'))
  const eos = new Set<number>()
  for (const fields of all) {
    const value = fields.get('eos_token_id')
    for (const id of Array.isArray(value) ? value as unknown[] : value === undefined ? [] : [value]) {
      if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= vocabSize) throw fields.error('eos_token_id', `must hold token ids below ${vocabSize}`)
      eos.add(id)
    }
  }
  if (eos.size === 0) eos.add(1)
  const [sampling] = generationFields
  return {
    bosTokenId: bosOwner.integer('bos_token_id', 0, vocabSize - 1, 2),
    eosTokenIds: [...eos].sort((a, b) => a - b),
    sampling: {
      temperature: sampling?.number('temperature', 0, 100, DEFAULT_SAMPLING.temperature) ?? DEFAULT_SAMPLING.temperature,
      topK: sampling?.integer('top_k', 0, undefined, DEFAULT_SAMPLING.topK) ?? DEFAULT_SAMPLING.topK,
      topP: sampling?.number('top_p', 0, 1, DEFAULT_SAMPLING.topP) ?? DEFAULT_SAMPLING.topP
    }
  }
}
