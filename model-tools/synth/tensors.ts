import type { SourceTensor } from '../architectures/architecture.js'
import { dtypeOf } from '../checkpoint/dtypes.js'
import type { CheckpointTensor, TensorReader } from '../checkpoint/source.js'
import { ModelError } from '../errors.js'
import { hashText } from './random.js'
import { randomBytes, type Distribution } from './values.js'

/** Dtype of a tensor, by its name without prefix and its shape. */
export type DtypeChoice = (tensor: SourceTensor) => string

export interface RandomTensor extends SourceTensor {
  dtype: string
  distribution: Distribution
}

/** Tensors that are nowhere: their bytes are made when they are read, and depend on `fingerprint`, name and dtype alone. */
export class SyntheticTensors implements TensorReader {
  readonly tensors: ReadonlyMap<string, CheckpointTensor>
  readonly #distributions: Map<string, Distribution>

  constructor (readonly location: string, readonly fingerprint: string, tensors: RandomTensor[], private readonly signal?: AbortSignal) {
    this.#distributions = new Map(tensors.map(({ name, distribution }) => [name, distribution]))
    this.tensors = new Map(tensors.map(({ name, dtype, shape }) => {
      const { blockValues, blockBytes } = dtypeOf(dtype) ?? { blockValues: 1, blockBytes: 0 }
      const values = shape.reduce((product, size) => product * size, 1)
      return [name, { name, dtype, shape, bytes: values / blockValues * blockBytes }]
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
}
