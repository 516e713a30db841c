import type { FileDigest } from './file-hash.js'

/** How a weight matrix is stored: see TensorEntry. */
export type WeightFormat = 'f32' | 'f16' | 'q8' | 'q4' | 'u4'

/** Values in a block of each quantised format, all with one scale. Blocks run along the input dimension, as ORT's MatMulNBits wants them. */
export const QUANT_BLOCKS = { q8: 32, q4: 32, u4: 64 } as const
export type QuantFormat = keyof typeof QUANT_BLOCKS

export type LayerType = 'sliding' | 'full'

/** Model families that can be converted and run; each has its module in architectures/. */
export const ARCHITECTURE_NAMES = ['gemma3', 'gemma4'] as const
export type ArchitectureName = typeof ARCHITECTURE_NAMES[number]

/** Attention geometry of one layer type. */
export interface AttentionConfig {
  heads: number
  kvHeads: number
  headDim: number
  /** Base of the rotary frequencies. */
  ropeTheta: number
  /** Share of the head dimension that is rotated (gemma4-spec, section 4: "proportional"). 1 for sliding layers. */
  rotaryFactor: number
  /** Layers without v_proj: V is the raw output of k_proj, before k_norm and rope. */
  valueFromKey: boolean
  /**
   * Scores are multiplied by this. Absent where it is 1, never 1: one model has one form, and forms that were there before this
   * field keep their id.
   */
  queryScale?: number
  /** Rotary frequencies are divided by this, for contexts longer than those first trained on ("linear" scaling). Absent where it is 1. */
  ropeDivisor?: number
}

/** What the client and the peers need to know of a model, in our own terms. Sizes are counts of values. */
export interface ModelConfig {
  architecture: ArchitectureName
  vocabSize: number
  hiddenSize: number
  layerTypes: LayerType[]
  attention: Record<LayerType, AttentionConfig>
  slidingWindow: number
  /** Of the MLP beside the experts; 0 in architectures without one. */
  denseIntermediateSize: number
  /** 1 in dense models: the MLP of a layer is its one expert, which every token chooses. */
  experts: number
  topK: number
  expertIntermediateSize: number
  rmsNormEps: number
  /** Embeddings are multiplied by this: sqrt(hiddenSize) in fp32. */
  embeddingScale: number
  /** logits = cap * tanh(logits / cap); 0 = none. */
  logitSoftcap: number
  maxPositions: number
  bosTokenId: number
  /** Union of config.json's and generation_config.json's. */
  eosTokenIds: number[]
  /** Defaults of generation_config.json. */
  sampling: { temperature: number, topK: number, topP: number }
}

/**
 * A small model that proposes tokens to the large one and reads that one's keys and values: each of its layers has queries only, for the cache of
 * the model's last layer of the same type, whose heads, rotation and window it shares.
 */
export interface DrafterConfig {
  /** Of its own stream. */
  hiddenSize: number
  layerTypes: LayerType[]
  /** Query heads. */
  heads: number
  intermediateSize: number
  rmsNormEps: number
}

/**
 * One tensor of a bundle. `shape` is [out, in] for matrices, row-major.
 * f32, f16: little-endian values. q4: uint8 [out, in/32, 16], low nibble first, value = (nibble - 8) * scale.
 * q8: uint8 [out, in/32, 32], value = (byte - 128) * scale. Scales of both: f16 [out, in/32].
 * u4: uint8 [out, in/64, 32], low nibble first, value = (nibble - zero) * scale; scales: f16 [out, in/64]; zeros: uint8 [out, ceil(in/64 / 2)], a nibble
 * a block, low first, the last of a row of odd length 0.
 */
export interface TensorEntry {
  file: string
  format: WeightFormat
  shape: number[]
  /** Byte offset in `file`, a multiple of TENSOR_ALIGNMENT. */
  offset: number
  bytes: number
  scales?: { offset: number, bytes: number }
  /** Only of u4. */
  zeros?: { offset: number, bytes: number }
}

/** Tensors start on page boundaries so that onnxruntime can memory-map them. */
export const TENSOR_ALIGNMENT = 4096

/** The unit of hosting: experts [firstExpert, firstExpert + experts) of one layer, in one file. */
export interface BlockEntry {
  layer: number
  firstExpert: number
  experts: number
  file: string
}

export interface BundleManifest {
  format: 'moeswarm-bundle/1'
  config: ModelConfig
  /** Absent in bundles without one. Its tensors are of the client part. */
  drafter?: DrafterConfig
  /** Format of the experts; the embedding is q8 when this is q4 or u4, norms and router always f32. */
  quant: WeightFormat
  blockExperts: number
  /** Every file of the bundle but the manifest: path with forward slashes -> digest. */
  files: Record<string, FileDigest>
  /** Tensors of the client part by our own name, see architectures/tensors.ts. */
  tensors: Record<string, TensorEntry>
  blocks: BlockEntry[]
}
