import type { DrafterConfig, LayerType, ModelConfig, WeightFormat } from '../bundle/manifest.js'
import type { Fields } from '../fields.js'
import type { LayerMath } from './layer-math.js'

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
  /** Added to every value, in float32: what an architecture's norms add to their weights. 0 for none. */
  offset: number
}

/**
 * Where the matrices of one expert come from: the rows of their sources, one after the other. A source with two dimensions is this
 * expert's alone; one with three holds all experts of the layer, along the outermost.
 */
export interface ExpertSources {
  /** [2 * intermediate, hidden] in all: gate rows, then up rows. */
  gateUp: SourceTensor[]
  /** [hidden, intermediate] in all. */
  down: SourceTensor[]
}

/** What there is to know of one model family: its config, which of its tensors is which of ours, and what its layers compute. */
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
  expertSources: (config: ModelConfig, layer: number, expert: number) => ExpertSources
  /** True for tensors, named without prefix, that a text model does not need. */
  isIgnored: (name: string) => boolean
  readonly layer: LayerMath
  /** What drafters of the family are like; absent where there are none. */
  readonly drafter?: DrafterForm
  /** How GGUF files hold it; absent where none do. */
  readonly gguf?: GgufForm
}

/** The drafters of a family: small models that read the keys and values of a large one. */
export interface DrafterForm {
  /** `model_type` of their config.json. */
  readonly modelType: string
  /** @throws ModelError 'unsupported' naming the key in which the drafter does not go with `target`, or that would change the mathematics */
  parseConfig: (config: unknown, target: ModelConfig) => DrafterConfig
  /** Names of sources are those of the drafter's checkpoint, whole. */
  tensors: (target: ModelConfig, drafter: DrafterConfig, quant: WeightFormat) => ClientTensorPlan[]
  /** True for tensors that drafting does not need. */
  isIgnored: (name: string) => boolean
}

/** What a GGUF file says, as an architecture needs it to write its config.json. */
export interface GgufFacts {
  /** All metadata. Its errors name file and key. */
  metadata: Fields
  /** Row-major shapes by the file's own names. */
  shapes: ReadonlyMap<string, readonly number[]>
  /** All values of a small tensor by the file's own name; undefined where there is none. */
  values: (name: string) => Promise<Float32Array | undefined>
}

/** One model family in GGUF: names, as data, and metadata. In names `N` stands for the number of a layer. */
export interface GgufForm {
  /** `general.architecture` of its files, and the prefix of its keys. */
  readonly architecture: string
  /** GGUF name -> checkpoint name without prefix. The values are those of the checkpoint, in the same order, but for `normsWhole`. */
  readonly tensors: Readonly<Record<string, string>>
  /** Its norms hold what the architecture adds to their weights already. @default false */
  readonly normsWhole?: boolean
  /** Checkpoint tensors that some files hold in parts. Both have the same outermost dimension, along which the parts' rows are joined. */
  readonly joined: Readonly<Record<string, readonly string[]>>
  /** Tensors that no checkpoint has because they follow from the configuration. */
  readonly ignored: readonly string[]
  /** Texts of tokens that end a generation, beside those that the metadata name. */
  readonly endTokens: readonly string[]
  /** Texts of control tokens that its files mark as ordinary ones, so that llama.cpp shows them. */
  readonly visibleControlTokens: readonly string[]
  /**
   * The config.json that `parseConfig` takes. Token ids are left to the caller, which knows the vocabulary.
   * Rejects with ModelError 'unsupported' naming a key whose meaning would be lost.
   */
  config: (facts: GgufFacts) => Promise<Record<string, unknown>>
}

/** Rows of q, k and v projections of a layer type. */
export function attentionRows (config: ModelConfig, type: LayerType): { q: number, kv: number } {
  const { heads, kvHeads, headDim } = config.attention[type]
  return { q: heads * headDim, kv: kvHeads * headDim }
}
