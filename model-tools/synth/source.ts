import type { Architecture, SourceTensor } from '../architectures/architecture.js'
import { architectureOfCheckpoint } from '../architectures/index.js'
import { expertTensors } from '../bundle/conversion-plan.js'
import type { ModelConfig } from '../bundle/manifest.js'
import { ggufText } from '../checkpoint/gguf-text.js'
import type { CheckpointSource } from '../checkpoint/source.js'
import { Fields } from '../fields.js'
import { vocabularyMetadata } from './gguf-metadata.js'
import type { Dialect } from './dialects.js'
import { shapeOf } from './shapes.js'
import { SyntheticTensors, type DtypeChoice } from './tensors.js'
import type { Distribution } from './values.js'
import { syntheticVocabulary } from './vocabulary.js'

export interface SyntheticModel {
  shape: string
  /** @default that of the shape */
  layers?: number
  /** @default 0 */
  seed?: number
}

/**
 * A checkpoint that is nowhere: tensors with the names and shapes of a published one, whose bytes are made when they are read. Equal seeds
 * give equal bytes; values do not depend on what is read, or when. Another dtype has other values.
 *
 * Throws ModelError 'unsupported' for an unknown shape or number of layers.
 */
export class SyntheticSource extends SyntheticTensors implements CheckpointSource {
  readonly architecture: Architecture
  readonly config: ModelConfig
  readonly #dialect: Dialect
  readonly #config: Record<string, unknown>
  readonly #generation: Record<string, unknown>

  readonly normsWhole: boolean

  /** @param form - `normsWhole` as a TensorReader has it */
  constructor ({ shape: name, layers, seed = 0 }: SyntheticModel, dtypeFor: DtypeChoice, signal?: AbortSignal, { normsWhole = false } = {}) {
    const shape = shapeOf(name)
    const count = layers ?? shape.layers
    const raw = shape.config(count)
    const architecture = architectureOfCheckpoint(raw)
    const config = architecture.parseConfig(raw, shape.generation)
    // The release's text tensors have the first of the prefixes that there are.
    const [prefix] = architecture.prefixes
    super(`the synthetic ${name} with ${count} layers`, `synthetic:${name}:${count}:${seed}`, sourceTensors(architecture, config).map(tensor => (
      { name: prefix + tensor.name, shape: tensor.shape, dtype: dtypeFor(tensor), distribution: distributionOf(normsWhole ? { ...tensor, offset: 0 } : tensor, config) }
    )), signal)
    this.normsWhole = normsWhole
    this.#config = raw
    this.#generation = shape.generation
    this.#dialect = shape.dialect
    this.architecture = architecture
    this.config = config
  }

  async sideFile (name: string): Promise<Uint8Array | undefined> {
    const text = this.#sideText(name)
    return text == null ? undefined : new TextEncoder().encode(text)
  }

  async close (): Promise<void> { /* nothing is open */ }

  #sideText (name: string): string | undefined {
    if (name === 'config.json') return JSON.stringify(this.#config, undefined, 2)
    if (name === 'generation_config.json') return JSON.stringify(this.#generation, undefined, 2)
    const metadata = Object.entries(vocabularyMetadata(syntheticVocabulary(this.config.vocabSize, this.#dialect))).map(([key, { value }]) => [key, value] as const)
    return ggufText(new Fields(Object.fromEntries<unknown>(metadata), this.location), name, this.architecture.gguf ?? { visibleControlTokens: [] })
  }
}

/** A tensor of a model, and what the architecture adds to its values. */
interface OffsetTensor extends SourceTensor {
  offset: number
}

/** Every text tensor of the release, in the order of its layers. */
function sourceTensors (architecture: Architecture, config: ModelConfig): OffsetTensor[] {
  const found: OffsetTensor[] = []
  let layer = -1
  const addExperts = (): void => {
    if (layer >= 0) found.push(...expertTensors(architecture, config, layer).map(tensor => ({ ...tensor, offset: 0 })))
  }
  // The client part names its tensors layer by layer; each layer's experts follow them.
  for (const { sources, offset } of architecture.clientTensors(config, 'f32')) {
    const [, number = '-1'] = /^layers\.(\d+)\./.exec(sources[0].name) ?? []
    if (Number(number) !== layer) {
      addExperts()
      layer = Number(number)
    }
    found.push(...sources.map(source => ({ ...source, offset })))
  }
  return found
}

/**
 * Values that keep a forward pass sane over any number of layers. Every projection keeps the size of what it is given, the norms behind
 * attention and experts let each of them add little to the stream, so that it grows slowly and stays a matter of the token, and logits have a deviation
 * of 3. A greedy text does not fall into a short circle.
 */
function distributionOf ({ name, shape, offset }: OffsetTensor, { layerTypes, attention }: ModelConfig): Distribution {
  const { mean, deviation } = distributionOfSum(name, shape, layerTypes.length, attention.full.queryScale ?? 1)
  return { mean: mean - offset, deviation }
}

/** Of the values to which the architecture has added what it adds. */
function distributionOfSum (name: string, shape: number[], layers: number, queryScale: number): Distribution {
  const inputs = shape.at(-1) ?? 1
  const last = name.replace(/^layers\.\d+\./, '')
  // Scores grow with the head's size and both of these norms, which leave a deviation of 1.5.
  const headNorm = (inputs * queryScale ** 2) ** -0.25
  switch (last) {
    // Of either sign: else the head, which is the embedding, would find in the stream the token that came in and repeat it for ever.
    case 'norm.weight': return { mean: 0, deviation: 3 }
    case 'self_attn.q_norm.weight':
    case 'self_attn.k_norm.weight': return { mean: 1.22 * headNorm, deviation: 0.1 * headNorm }
    // Attention adds what tokens have in common, and a stream that is all common chooses the same experts for everybody.
    case 'post_attention_layernorm.weight': return { mean: 0.1, deviation: 0.01 }
    // What the last layer adds outweighs the rest: the tokens' own part alone gives logits that are the same from a to b as from b to a, and two tokens by turns.
    case 'post_feedforward_layernorm.weight': return name.startsWith(`layers.${layers - 1}.`) ? { mean: 4, deviation: 0.3 } : { mean: 0.25, deviation: 0.02 }
    case 'router.proj.weight': return { mean: 0, deviation: 2 }
    case 'layer_scalar': return { mean: 1, deviation: 0.01 }
    default: return shape.length === 1 ? { mean: 1, deviation: 0.05 } : { mean: 0, deviation: inputs ** -0.5 }
  }
}
