import type { ModelConfig } from '../bundle/manifest.js'
import { bytesOf } from '../float.js'
import type { GgufMetadata } from './gguf-writer.js'
import type { StreamedTensor } from './stream.js'

/** Marks a pair of a rotary embedding that does not turn: its frequency is divided by this. llama.cpp's converter writes the same. */
const STANDING_PAIR = 1e30

/** general.file_type of a mostly-Q4_0 file, from llama.h. It only names the file. */
const FILE_TYPE_Q4_0 = 2

function general (architecture: string, name: string): GgufMetadata {
  return {
    'general.architecture': { type: 'string', value: architecture },
    'general.type': { type: 'string', value: 'model' },
    'general.name': { type: 'string', value: name },
    'general.file_type': { type: 'u32', value: FILE_TYPE_Q4_0 },
    'general.quantization_version': { type: 'u32', value: 2 }
  }
}

/** Everything that llama.cpp's `gemma4` reads of a model but its vocabulary (src/models/gemma4.cpp, conversion/gemma.py). */
export function gemma4Metadata (config: ModelConfig, name: string): GgufMetadata {
  const { sliding, full } = config.attention
  const layers = config.layerTypes.length
  return {
    ...general('gemma4', name),
    'general.sampling.temp': { type: 'f32', value: config.sampling.temperature },
    'general.sampling.top_k': { type: 'i32', value: config.sampling.topK },
    'general.sampling.top_p': { type: 'f32', value: config.sampling.topP },
    'gemma4.block_count': { type: 'u32', value: layers },
    'gemma4.context_length': { type: 'u32', value: config.maxPositions },
    'gemma4.embedding_length': { type: 'u32', value: config.hiddenSize },
    'gemma4.feed_forward_length': { type: 'u32', value: config.denseIntermediateSize },
    'gemma4.attention.head_count': { type: 'u32', value: full.heads },
    'gemma4.attention.head_count_kv': { type: 'i32[]', value: config.layerTypes.map(type => config.attention[type].kvHeads) },
    'gemma4.attention.key_length': { type: 'u32', value: full.headDim },
    'gemma4.attention.value_length': { type: 'u32', value: full.headDim },
    'gemma4.attention.key_length_swa': { type: 'u32', value: sliding.headDim },
    'gemma4.attention.value_length_swa': { type: 'u32', value: sliding.headDim },
    'gemma4.attention.sliding_window': { type: 'u32', value: config.slidingWindow },
    'gemma4.attention.sliding_window_pattern': { type: 'bool[]', value: config.layerTypes.map(type => type === 'sliding') },
    'gemma4.attention.shared_kv_layers': { type: 'u32', value: 0 },
    'gemma4.attention.layer_norm_rms_epsilon': { type: 'f32', value: config.rmsNormEps },
    'gemma4.embedding_length_per_layer_input': { type: 'u32', value: 0 },
    'gemma4.expert_count': { type: 'u32', value: config.experts },
    'gemma4.expert_used_count': { type: 'u32', value: config.topK },
    'gemma4.expert_feed_forward_length': { type: 'u32', value: config.expertIntermediateSize },
    'gemma4.rope.freq_base': { type: 'f32', value: full.ropeTheta },
    'gemma4.rope.freq_base_swa': { type: 'f32', value: sliding.ropeTheta },
    'gemma4.rope.dimension_count': { type: 'u32', value: full.headDim },
    'gemma4.rope.dimension_count_swa': { type: 'u32', value: sliding.headDim },
    'gemma4.final_logit_softcapping': { type: 'f32', value: config.logitSoftcap }
  }
}

/** Everything that llama.cpp's `gemma3` reads of a model but its vocabulary (src/models/gemma3.cpp, class Gemma3Model of its converter). */
export function gemma3Metadata (config: ModelConfig, name: string): GgufMetadata {
  const { sliding, full } = config.attention
  return {
    ...general('gemma3', name),
    'gemma3.block_count': { type: 'u32', value: config.layerTypes.length },
    'gemma3.context_length': { type: 'u32', value: config.maxPositions },
    'gemma3.embedding_length': { type: 'u32', value: config.hiddenSize },
    'gemma3.feed_forward_length': { type: 'u32', value: config.expertIntermediateSize },
    'gemma3.attention.head_count': { type: 'u32', value: full.heads },
    'gemma3.attention.head_count_kv': { type: 'u32', value: full.kvHeads },
    'gemma3.attention.key_length': { type: 'u32', value: full.headDim },
    'gemma3.attention.value_length': { type: 'u32', value: full.headDim },
    'gemma3.attention.sliding_window': { type: 'u32', value: config.slidingWindow },
    'gemma3.attention.layer_norm_rms_epsilon': { type: 'f32', value: config.rmsNormEps },
    'gemma3.rope.freq_base': { type: 'f32', value: full.ropeTheta },
    'gemma3.rope.freq_base_swa': { type: 'f32', value: sliding.ropeTheta },
    ...full.ropeDivisor === undefined ? {} : { 'gemma3.rope.scaling.type': { type: 'string', value: 'linear' }, 'gemma3.rope.scaling.factor': { type: 'f32', value: full.ropeDivisor } }
  }
}

/** The tensor by which a file says how much of a full layer's head is turned. */
export function ropeFrequencies ({ attention: { full } }: ModelConfig): StreamedTensor {
  const pairs = full.headDim / 2
  const bytes = bytesOf(Float32Array.from({ length: pairs }, (_, pair) => pair < full.rotaryFactor * pairs ? 1 : STANDING_PAIR))
  return { name: 'rope_freqs.weight', dtype: 'F32', shape: [pairs], bytes: bytes.length, read: async (offset, length) => bytes.subarray(offset, offset + length) }
}

/** A vocabulary as a GGUF file has it, but for its size and special tokens, which follow from `tokens`. */
export interface Vocabulary {
  tokens: readonly string[]
  /** token_type of llama.h: 1 normal, 3 control, 4 user-defined, 6 byte. */
  types: readonly number[]
  /** `left right`, best first. */
  merges: readonly string[]
  /** The token that ends a turn of a conversation. */
  endOfTurn: string
  chatTemplate: string
}

/** Score that converters give to tokens of a vocabulary whose order of merges is known otherwise. */
const NO_SCORE = -1000

/** Throws RangeError where a token that every Gemma vocabulary has is missing. */
export function vocabularyMetadata ({ tokens, types, merges, endOfTurn, chatTemplate }: Vocabulary, kind: 'gemma4' | 'llama' = 'gemma4'): GgufMetadata {
  const id = (text: string): { type: 'u32', value: number } => {
    const value = tokens.indexOf(text)
    if (value < 0) throw new RangeError(`The vocabulary lacks ${text}`)
    return { type: 'u32', value }
  }
  return {
    'tokenizer.ggml.model': { type: 'string', value: kind },
    'tokenizer.ggml.tokens': { type: 'string[]', value: tokens },
    'tokenizer.ggml.scores': { type: 'f32[]', value: kind === 'llama' ? scoresOf(tokens, merges) : tokens.map(() => NO_SCORE) },
    'tokenizer.ggml.token_type': { type: 'i32[]', value: types },
    ...kind === 'llama' ? {} : { 'tokenizer.ggml.merges': { type: 'string[]', value: merges } },
    'tokenizer.ggml.bos_token_id': id('<bos>'),
    'tokenizer.ggml.eos_token_id': id('<eos>'),
    'tokenizer.ggml.unknown_token_id': id('<unk>'),
    'tokenizer.ggml.padding_token_id': id('<pad>'),
    'tokenizer.ggml.mask_token_id': id('<mask>'),
    'tokenizer.ggml.eot_token_id': id(endOfTurn),
    'tokenizer.ggml.add_bos_token': { type: 'bool', value: true },
    'tokenizer.ggml.add_space_prefix': { type: 'bool', value: false },
    'tokenizer.chat_template': { type: 'string', value: chatTemplate }
  }
}

/** SentencePiece's: the earlier a token is merged, the better its score. */
function scoresOf (tokens: readonly string[], merges: readonly string[]): number[] {
  const rank = new Map(merges.map((merge, at) => [merge.replace(' ', ''), at]))
  return tokens.map(token => -(rank.get(token) ?? 0))
}
