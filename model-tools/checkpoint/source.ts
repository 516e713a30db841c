import { ModelError } from '../errors.js'
import { bf16ToF32, f16ToF32, floats32, words16 } from '../float.js'

/** A tensor of a checkpoint as its file describes it. */
export interface CheckpointTensor {
  name: string
  /** The file format's own name of the dtype. Only F32, BF16 and F16 can be read as values. */
  dtype: string
  /** Row-major, outermost dimension first; [] for a scalar. */
  shape: number[]
  bytes: number
}

/** Named tensors, readable by byte range: one contract for files and, later, for repositories read over HTTP. */
export interface CheckpointSource {
  /** Where it is, for error messages. */
  readonly location: string
  readonly tensors: ReadonlyMap<string, CheckpointTensor>
  /** A string that differs when the weights may differ; cheap, so made of sizes, times and headers rather than of all bytes. */
  readonly fingerprint: string
  /**
   * Bytes [offset, offset + length) of a tensor. Reads this range only.
   * Rejects with ModelError 'malformed' when the file has become shorter than its header says.
   */
  read: (name: string, offset: number, length: number) => Promise<Uint8Array>
  close: () => Promise<void>
}

/** Bytes of one value of the dtypes that can be read as values. */
const VALUE_BYTES: Record<string, number> = { F32: 4, BF16: 2, F16: 2 }

/**
 * Values [first, first + count) of a tensor in row-major order, as float32.
 * Rejects with ModelError 'unsupported' when the tensor's dtype is none of F32, BF16, F16.
 */
export async function readValues (source: CheckpointSource, name: string, first: number, count: number): Promise<Float32Array> {
  const tensor = source.tensors.get(name)
  if (tensor == null) throw new ModelError('missing-tensor', `${source.location} holds no tensor ${name}.`, { names: [name] })
  const width = VALUE_BYTES[tensor.dtype]
  if (width == null) {
    throw new ModelError('unsupported', `Tensor ${name} of ${source.location} is ${tensor.dtype}; only F32, BF16 and F16 weights can be converted, so use an unquantised checkpoint.`,
      { name, dtype: tensor.dtype })
  }
  const bytes = await source.read(name, first * width, count * width)
  if (tensor.dtype === 'F32') return floats32(bytes)
  return tensor.dtype === 'BF16' ? bf16ToF32(words16(bytes)) : f16ToF32(words16(bytes))
}
