import type { LayerType, ModelConfig, WeightFormat } from '../bundle/manifest.js'

/** A checkpoint tensor that is needed, named without the checkpoint's prefix. */
export interface SourceTensor {
  name: string
  shape: number[]
}

/** A tensor of the client part: the rows of its sources, one after the other. */
export interface ClientTensorPlan {
  /** Our name, the key in the manifest's `tensors`. */
  name: string
  /** Bundle file that it goes into. */
  file: string
  format: WeightFormat
  shape: number[]
  sources: SourceTensor[]
}

/** Where the experts of a layer come from; the outermost dimension of both is the expert. */
export interface ExpertSources {
  /** [experts, 2 * intermediate, hidden]: gate rows, then up rows. */
  gateUp: SourceTensor
  /** [experts, hidden, intermediate] */
  down: SourceTensor
}

/** What there is to know of one model family: its config, and which of its tensors is which of ours. */
export interface Architecture {
  /** `model_type` values of config.json. */
  readonly modelTypes: readonly string[]
  /** What checkpoint tensor names may start with; the first one that fits is used. */
  readonly prefixes: readonly string[]
  /**
   * Both as parsed JSON; `generation` is undefined where there is no generation_config.json.
   * Throws ModelError 'unsupported' naming key and value for anything that would change the mathematics, 'malformed' for nonsense.
   */
  parseConfig: (config: unknown, generation: unknown) => ModelConfig
  /** In the order in which they lie in their files; tensors of one file are neighbours. */
  clientTensors: (config: ModelConfig, quant: WeightFormat) => ClientTensorPlan[]
  expertSources: (config: ModelConfig, layer: number) => ExpertSources
  /** True for tensors, named without prefix, that a text model does not need. */
  isIgnored: (name: string) => boolean
}

/** Rows of q, k and v projections of a layer type. */
export function attentionRows (config: ModelConfig, type: LayerType): { q: number, kv: number } {
  const { heads, kvHeads, headDim } = config.attention[type]
  return { q: heads * headDim, kv: kvHeads * headDim }
}
