import type { LayerType, ModelConfig } from '../bundle/manifest.js'
import { Fields } from '../fields.js'

/** Modules of multimodal Gemma checkpoints beside the text model, and the head, which is tied to the embedding. */
export const GEMMA_IGNORED = /^(vision_tower|embed_vision|audio_tower|embed_audio|multi_modal_projector|lm_head)\./

/** Keys of a text config that say nothing about the forward pass of a text, or that repeat what the outer config says. */
const IRRELEVANT_KEYS = [
  '_name_or_path', 'architectures', 'attention_dropout', 'audio_token_id', 'boa_token_id', 'boi_token_id', 'cache_implementation', 'chunk_size_feed_forward', 'dtype',
  'eoa_token_id', 'eoi_token_id', 'id2label', 'image_token_id', 'initializer_range', 'is_encoder_decoder', 'label2id', 'output_attentions', 'output_hidden_states',
  'pad_token_id', 'problem_type', 'return_dict', 'torch_dtype', 'transformers_version', 'use_cache', 'video_token_id', 'vocab_size_per_layer_input'
]

const LAYER_TYPES: Record<string, LayerType> = { sliding_attention: 'sliding', full_attention: 'full' }

/** Sampling of the releases' generation_config.json, for checkpoints without one. */
export const DEFAULT_SAMPLING = { temperature: 1, topK: 64, topP: 0.95 }

/** Options that may stand in the outer config or the text's. */
export function requireSupported (fields: Fields): void {
  requireValue(fields, 'tie_word_embeddings', [undefined, true], 'only tied embeddings are supported')
  requireValue(fields, 'quantization_config', [undefined], 'only unquantised checkpoints can be converted')
}

/** Throws ModelError 'unsupported' naming key, value and `problem`. */
export function requireValue (fields: Fields, key: string, allowed: unknown[], problem: string): void {
  if (!allowed.includes(fields.get(key))) throw fields.error(key, `cannot be run: ${problem}`)
}

/** A key that we have never heard of may change the mathematics, so the converter stops instead of producing a subtly wrong model. */
export function requireKnownKeys (text: Fields): void {
  for (const key of [...IRRELEVANT_KEYS, 'text_config', 'vision_config', 'audio_config']) text.get(key)
  const unknown = text.unread()
  if (unknown.length > 0) {
    throw text.error(unknown[0], `is not known to this version${unknown.length > 1 ? ` (nor are ${unknown.slice(1).join(', ')})` : ''}; it may change the results, so this checkpoint cannot be converted`)
  }
}

/** What kind each layer is: by `layer_types`, or, without it, every `period`-th one is full. */
export function parseLayerTypes (text: Fields, defaultLayers: number, period: number): LayerType[] {
  const layers = text.integer('num_hidden_layers', 1, 10_000, defaultLayers)
  const named = text.has('layer_types') ? text.array('layer_types') : undefined
  if (named != null && named.length !== layers) throw text.error('layer_types', `must have ${layers} entries, one a layer`)
  return Array.from({ length: layers }, (_, layer): LayerType => {
    if (named == null) return (layer + 1) % period === 0 ? 'full' : 'sliding'
    const type = named[layer]
    if (typeof type !== 'string' || !Object.hasOwn(LAYER_TYPES, type)) throw text.error('layer_types', `has an entry other than ${Object.keys(LAYER_TYPES).join(' and ')}`)
    return LAYER_TYPES[type]
  })
}

/** Head dimension and key/value heads must fit each other and rotary embedding. */
export function requireGeometry (text: Fields, dimKey: string, headDim: number, heads: number, kvHeads: number, type: LayerType): void {
  if (headDim % 2 !== 0) throw text.error(dimKey, 'must be even, as rotary embedding turns pairs')
  if (heads % kvHeads !== 0) throw text.error('num_attention_heads', `must be a multiple of the ${kvHeads} key/value heads of ${type} layers`)
}

/** Tokens that begin and end a text, of all configs together, and how a release is sampled. */
export function parseTokens (configs: Fields[], generation: unknown, vocabSize: number): Pick<ModelConfig, 'bosTokenId' | 'eosTokenIds' | 'sampling'> {
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
