import { gemma4 } from '../architectures/gemma4.js'
import type { SourceTensor } from '../architectures/architecture.js'
import type { ModelConfig } from '../bundle/manifest.js'
import { dtypeOf } from '../checkpoint/dtypes.js'
import { ggufText } from '../checkpoint/gguf-text.js'
import type { CheckpointSource, CheckpointTensor } from '../checkpoint/source.js'
import { ModelError } from '../errors.js'
import { Fields } from '../fields.js'
import { vocabularyMetadata } from './gguf-metadata.js'
import { hashText } from './random.js'
import { shapeOf } from './shapes.js'
import { randomBytes, type Distribution } from './values.js'
import { syntheticVocabulary } from './vocabulary.js'

/** Prefix of the release's text tensors. */
const PREFIX = gemma4.prefixes[0]

export interface SyntheticModel {
  shape: string
  /** @default that of the shape */
  layers?: number
  /** @default 0 */
  seed?: number
}

/** Dtype of a tensor, by its name without prefix and its shape. */
export type DtypeChoice = (tensor: SourceTensor) => string

/**
 * A checkpoint that is nowhere: tensors with the names and shapes of a published one, whose bytes are made when they are read. Equal seeds
 * give equal bytes; values do not depend on what is read, or when. Another dtype has other values.
 *
 * Throws ModelError 'unsupported' for an unknown shape or number of layers.
 */
export class SyntheticSource implements CheckpointSource {
  readonly location: string
  readonly fingerprint: string
  readonly tensors: ReadonlyMap<string, CheckpointTensor>
  readonly config: ModelConfig
  readonly #config: Record<string, unknown>
  readonly #generation: Record<string, unknown>
  readonly #distributions = new Map<string, Distribution>()

  constructor ({ shape: name, layers, seed = 0 }: SyntheticModel, dtypeFor: DtypeChoice, private readonly signal?: AbortSignal) {
    const shape = shapeOf(name)
    const count = layers ?? shape.layers
    this.#config = shape.config(count)
    this.#generation = shape.generation
    this.config = gemma4.parseConfig(this.#config, this.#generation)
    this.location = `the synthetic ${name} with ${count} layers`
    this.fingerprint = `synthetic:${name}:${count}:${seed}`
    this.tensors = new Map(sourceTensors(this.config).map(tensor => {
      const dtype = dtypeFor(tensor)
      const { blockValues, blockBytes } = dtypeOf(dtype) ?? { blockValues: 1, blockBytes: 0 }
      const values = tensor.shape.reduce((product, size) => product * size, 1)
      this.#distributions.set(PREFIX + tensor.name, distributionOf(tensor, count))
      return [PREFIX + tensor.name, { name: PREFIX + tensor.name, dtype, shape: tensor.shape, bytes: values / blockValues * blockBytes }]
    }))
  }

  async read (name: string, offset: number, length: number): Promise<Uint8Array> {
    this.signal?.throwIfAborted()
    const tensor = this.tensors.get(name)
    const distribution = this.#distributions.get(name)
    if (tensor == null || distribution == null) throw new ModelError('missing-tensor', `${this.location} holds no tensor ${name}.`, { names: [name] })
    if (offset < 0 || length < 0 || offset + length > tensor.bytes) throw new RangeError(`Bytes ${offset} to ${offset + length} lie outside of tensor ${name} with ${tensor.bytes} bytes`)
    return randomBytes(tensor.dtype, distribution, hashText(`${this.fingerprint}:${name}`), offset, length)
  }

  async sideFile (name: string): Promise<Uint8Array | undefined> {
    const text = this.#sideText(name)
    return text == null ? undefined : new TextEncoder().encode(text)
  }

  async close (): Promise<void> { /* nothing is open */ }

  #sideText (name: string): string | undefined {
    if (name === 'config.json') return JSON.stringify(this.#config, undefined, 2)
    if (name === 'generation_config.json') return JSON.stringify(this.#generation, undefined, 2)
    const metadata = Object.entries(vocabularyMetadata(syntheticVocabulary(this.config.vocabSize))).map(([key, { value }]) => [key, value] as const)
    return gemma4.gguf == null ? undefined : ggufText(new Fields(Object.fromEntries<unknown>(metadata), this.location), name, gemma4.gguf)
  }
}

/** Every text tensor of the release, in the order of its layers. */
export function sourceTensors (config: ModelConfig): SourceTensor[] {
  const found: SourceTensor[] = []
  let layer = -1
  const addExperts = (): void => {
    if (layer < 0) return
    const { gateUp, down } = gemma4.expertSources(config, layer)
    found.push(gateUp, down)
  }
  // The client part names its tensors layer by layer; each layer's experts follow them.
  for (const { sources } of gemma4.clientTensors(config, 'f32')) {
    const [, number = '-1'] = /^layers\.(\d+)\./.exec(sources[0].name) ?? []
    if (Number(number) !== layer) {
      addExperts()
      layer = Number(number)
    }
    found.push(...sources)
  }
  addExperts()
  return found
}

/**
 * Values that keep a forward pass sane over any number of layers. Every projection keeps the size of what it is given, the norms behind
 * attention and experts let each of them add little to the stream, so that it grows slowly and stays a matter of the token, and logits have a deviation
 * of 3. A greedy text does not fall into a short circle.
 */
function distributionOf ({ name, shape }: SourceTensor, layers: number): Distribution {
  const inputs = shape.at(-1) ?? 1
  const last = name.replace(/^layers\.\d+\./, '')
  switch (last) {
    // Of either sign: else the head, which is the embedding, would find in the stream the token that came in and repeat it for ever.
    case 'norm.weight': return { mean: 0, deviation: 3 }
    // Scores are not divided by the root of the head's size: these two norms do it, and leave a deviation of 1.5.
    case 'self_attn.q_norm.weight':
    case 'self_attn.k_norm.weight': return { mean: 1.22 * inputs ** -0.25, deviation: 0.1 * inputs ** -0.25 }
    // Attention adds what tokens have in common, and a stream that is all common chooses the same experts for everybody.
    case 'post_attention_layernorm.weight': return { mean: 0.1, deviation: 0.01 }
    // What the last layer adds outweighs the rest: the tokens' own part alone gives logits that are the same from a to b as from b to a, and two tokens by turns.
    case 'post_feedforward_layernorm.weight': return name.startsWith(`layers.${layers - 1}.`) ? { mean: 4, deviation: 0.3 } : { mean: 0.25, deviation: 0.02 }
    case 'router.proj.weight': return { mean: 0, deviation: 2 }
    case 'layer_scalar': return { mean: 1, deviation: 0.01 }
    default: return shape.length === 1 ? { mean: 1, deviation: 0.05 } : { mean: 0, deviation: inputs ** -0.5 }
  }
}
