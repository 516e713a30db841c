import type { WeightFormat } from '../bundle/manifest.js'
import { ModelError } from '../errors.js'
import { encodeRows, type EncodedRows } from '../quantize/rows.js'
import { dtypeOf, type StoredDtype } from './dtypes.js'

/** A tensor of a checkpoint as its file describes it. */
export interface CheckpointTensor {
  name: string
  /** The file format's own name of the dtype. Those of dtypes.ts can be read as values. */
  dtype: string
  /** Row-major, outermost dimension first; [] for a scalar. */
  shape: number[]
  bytes: number
}

/** Named tensors, readable by byte range. */
export interface TensorReader {
  /** Where it is, for error messages. */
  readonly location: string
  readonly tensors: ReadonlyMap<string, CheckpointTensor>
  /** Norms hold what the architecture adds to their weights already. @default false */
  readonly normsWhole?: boolean
  /**
   * Bytes [offset, offset + length) of a tensor. Reads this range only.
   * Rejects with ModelError 'malformed' when the file has become shorter than its header says.
   */
  read: (name: string, offset: number, length: number) => Promise<Uint8Array>
}

/** A checkpoint: its tensors, and the small files beside them. One contract for files and for repositories read over HTTP. */
export interface CheckpointSource extends TensorReader {
  /** A string that differs when the weights may differ; cheap, so made of sizes, times and headers rather than of all bytes. */
  readonly fingerprint: string
  /** What opens these very bytes again, where that is not what was asked for: a repository at a commit instead of a branch. */
  readonly pinned?: string
  /**
   * A small file of the checkpoint by its Hugging Face name (config.json, generation_config.json, tokenizer.json, ...), or its content made
   * from what the weights' file says; undefined where there is none. Rejects with ModelError 'malformed' when it cannot be one.
   */
  sideFile: (name: string) => Promise<Uint8Array | undefined>
  close: () => Promise<void>
}

/** What a side file may have at most: the tokenizer.json of a vocabulary of 262,144 tokens has about 32 MB. */
export const MAX_SIDE_FILE_BYTES = 256 * 1024 * 1024

/**
 * Values [first, first + count) of a tensor in row-major order, as float32. Both are multiples of the dtype's block.
 * Rejects with ModelError 'unsupported' when the tensor's dtype is none that can be read as values.
 */
export async function readValues (source: TensorReader, name: string, first: number, count: number): Promise<Float32Array> {
  const dtype = requireDtype(source, name)
  return dtype.decode(await readBlocks(source, name, dtype, first, count))
}

/**
 * Rows [firstRow, firstRow + rows) of a tensor seen as a matrix [.., columns], as a bundle stores them. Blocks that the checkpoint holds in this very format are
 * carried over bit by bit; everything else is decoded and encoded. Rejects as readValues, and as encodeRows throws.
 */
export async function readEncoded (source: TensorReader, name: string, format: WeightFormat, columns: number, firstRow: number, rows: number): Promise<EncodedRows> {
  const dtype = requireDtype(source, name)
  const bytes = await readBlocks(source, name, dtype, firstRow * columns, rows * columns)
  return dtype.carry?.format === format ? dtype.carry.encode(bytes) : encodeRows(format, dtype.decode(bytes), columns)
}

function requireDtype (source: TensorReader, name: string): StoredDtype {
  const tensor = source.tensors.get(name)
  if (tensor == null) throw new ModelError('missing-tensor', `${source.location} holds no tensor ${name}.`, { names: [name] })
  const dtype = dtypeOf(tensor.dtype)
  if (dtype == null) {
    throw new ModelError('unsupported', `Tensor ${name} of ${source.location} is ${tensor.dtype}, which cannot be read as weights; use a checkpoint in F32, BF16, F16, Q8_0, Q4_0, Q4_K or Q6_K.`,
      { name, dtype: tensor.dtype })
  }
  return dtype
}

async function readBlocks (source: TensorReader, name: string, { blockValues, blockBytes }: StoredDtype, first: number, count: number): Promise<Uint8Array> {
  if (first % blockValues !== 0 || count % blockValues !== 0) throw new RangeError(`Values ${first} to ${first + count} of tensor ${name} do not lie on blocks of ${blockValues}`)
  return source.read(name, first / blockValues * blockBytes, count / blockValues * blockBytes)
}
