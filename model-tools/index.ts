/** Weights -> bundles, and what a client and a peer read out of bundles. Knows nothing of networks and runs no graph. */
export { ModelError, type ModelErrorCode } from './errors.js'
export { convertCheckpoint, DEFAULT_BLOCK_EXPERTS, DEFAULT_QUANT, type ConversionOptions, type ConversionProgress } from './bundle/writer.js'
export { Bundle, MANIFEST_FILE, type VerifyProgress } from './bundle/reader.js'
export { parseRanges, selectBlocks, type Range } from './bundle/ranges.js'
export { expertLayout, type ExpertEntry } from './bundle/layout.js'
export {
  QUANT_BLOCK, TENSOR_ALIGNMENT, type AttentionConfig, type BlockEntry, type BundleManifest, type LayerType, type ModelConfig, type TensorEntry, type WeightFormat
} from './bundle/manifest.js'
export { attentionGraph, denseMlpGraph, expertGraph, headGraph, type TensorLookup } from './graphs/index.js'
export { CLIENT_TENSORS, LAYER_TENSORS, type ClientTensorName, type LayerTensorName } from './architectures/gemma4.js'
export { attentionRows } from './architectures/architecture.js'
export { openCheckpoint } from './checkpoint/open.js'
export { readValues, type CheckpointSource, type CheckpointTensor } from './checkpoint/source.js'
export { decodeRow, decodeRows, encodeRows, isQuantized, WEIGHT_FORMATS, type EncodedRows } from './quantize/rows.js'
export { f16ToF32, f32ToF16 } from './float.js'
export { openText } from './text/open.js'
export { TextStream, Tokenizer, type DecodeOptions, type EncodeOptions } from './text/tokenizer.js'
export { ChatTemplate, type ChatMessage, type RenderOptions } from './text/chat-template.js'
