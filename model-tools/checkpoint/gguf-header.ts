import { ModelError } from '../errors.js'
import { dtypeOf } from './dtypes.js'
import { ALIGNMENT_KEY, alignTo, DEFAULT_ALIGNMENT, GGUF_MAGIC, GGUF_VERSIONS, MAX_DIMENSIONS, tensorTypeName } from './gguf-format.js'
import { GgufCursor, type ReadRange } from './gguf-cursor.js'
import type { CheckpointTensor } from './source.js'

/** A metadata value. 64-bit integers are numbers: one that no number can hold is refused. */
export type GgufValue = number | boolean | string | number[] | boolean[] | string[]

export interface GgufTensor extends CheckpointTensor {
  /** From the first byte of data. */
  offset: number
}

export interface GgufHeader {
  metadata: Map<string, GgufValue>
  tensors: Map<string, GgufTensor>
  /** Position of the first tensor byte. */
  dataStart: number
}

/** A key, its type and the smallest value; a tensor's name, dimension count, type and offset. What a count is checked against before it is believed. */
const MIN_PAIR_BYTES = 8 + 4 + 1
const MIN_TENSOR_BYTES = 8 + 4 + 4 + 8
/** Of ggml: 64, raised by forks; far more is no name. */
const MAX_NAME_BYTES = 1024
/** A chat template may have some 100 KB, a licence text 1 MB. */
const MAX_STRING_BYTES = 16 * 1024 * 1024
const MAX_ALIGNMENT = 1024 * 1024

/**
 * Reads the header of a GGUF file (version 2 or 3, little-endian): all metadata, and where every tensor lies. Every count and length is
 * compared with the bytes that are left before anything is made of it, and every tensor with the file's size.
 *
 * Rejects with ModelError 'malformed' naming key or tensor, or 'unsupported' naming a version or a tensor type.
 *
 * @param path - for errors
 */
export async function readGgufHeader (path: string, fileBytes: number, read: ReadRange): Promise<GgufHeader> {
  const cursor = new GgufCursor(path, fileBytes, read)
  if (await cursor.u32() !== GGUF_MAGIC) throw new ModelError('malformed', `${path} does not start with "GGUF"; it is no GGUF file or is damaged, get it again.`, { path })
  const version = await cursor.u32()
  if (!GGUF_VERSIONS.includes(version)) throw unknownVersion(path, version)
  const tensorCount = await cursor.count('tensors', MIN_TENSOR_BYTES)
  const pairCount = await cursor.count('metadata keys', MIN_PAIR_BYTES)
  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < pairCount; i++) {
    const key = await cursor.string(MAX_NAME_BYTES, 'a metadata key')
    if (metadata.has(key)) throw cursor.error(`has metadata key ${key} twice`)
    metadata.set(key, await cursor.value(key, MAX_STRING_BYTES))
  }
  const described: GgufTensor[] = []
  for (let i = 0; i < tensorCount; i++) described.push(await readTensor(cursor, path))
  const alignment = alignmentOf(cursor, metadata)
  const dataStart = alignTo(cursor.position, alignment)
  requirePlaced(cursor, described, alignment, fileBytes - dataStart)
  const tensors = new Map(described.map(tensor => [tensor.name, tensor]))
  if (tensors.size !== described.length) throw cursor.error('describes a tensor twice')
  return { metadata, tensors, dataStart }
}

function unknownVersion (path: string, version: number): ModelError {
  const reversed = new DataView(new ArrayBuffer(4))
  reversed.setUint32(0, version, true)
  const swapped = reversed.getUint32(0, false)
  return GGUF_VERSIONS.includes(swapped)
    ? new ModelError('unsupported', `${path} is a big-endian GGUF file; get the little-endian one.`, { path, version: swapped })
    : new ModelError('unsupported', `${path} is GGUF version ${version}; versions ${GGUF_VERSIONS.join(' and ')} can be read, so convert it with a current llama.cpp.`, { path, version })
}

async function readTensor (cursor: GgufCursor, path: string): Promise<GgufTensor> {
  const name = await cursor.string(MAX_NAME_BYTES, 'a tensor name')
  const dimensions = await cursor.u32()
  if (dimensions > MAX_DIMENSIONS) throw cursor.error(`gives tensor ${name} ${dimensions} dimensions, where ggml has at most ${MAX_DIMENSIONS}`)
  const shape: number[] = []
  // The file names the innermost dimension first.
  for (let i = 0; i < dimensions; i++) shape.unshift(await cursor.u64(`a size of tensor ${name}`))
  const type = await cursor.u32()
  const offset = await cursor.u64(`the offset of tensor ${name}`)
  const dtype = tensorTypeName(type)
  if (dtype == null) throw new ModelError('unsupported', `${path}: tensor ${name} has type ${type}, which is not known to this version; use a file in F32, F16, BF16, Q8_0, Q4_0, Q4_K or Q6_K.`, { path, name, type })
  const stored = dtypeOf(dtype)
  if (stored == null) {
    throw new ModelError('unsupported', `${path}: tensor ${name} has type ${dtype}, which cannot be read; use a file in F32, F16, BF16, Q8_0, Q4_0, Q4_K or Q6_K.`, { path, name, dtype })
  }
  const values = shape.reduce((product, size) => product * size, 1)
  if (values === 0 || !Number.isSafeInteger(values)) throw cursor.error(`gives tensor ${name} the impossible shape [${shape.join(', ')}]`)
  if ((shape.at(-1) ?? 1) % stored.blockValues !== 0) throw cursor.error(`gives tensor ${name} rows of ${shape.at(-1) ?? 1} values, which blocks of ${dtype} do not divide`)
  return { name, dtype, shape, bytes: values / stored.blockValues * stored.blockBytes, offset }
}

function alignmentOf (cursor: GgufCursor, metadata: Map<string, GgufValue>): number {
  const value = metadata.get(ALIGNMENT_KEY) ?? DEFAULT_ALIGNMENT
  if (typeof value !== 'number' || value < 1 || value > MAX_ALIGNMENT || !Number.isInteger(Math.log2(value))) {
    throw cursor.error(`has ${ALIGNMENT_KEY} ${String(value)}, where a power of two up to ${MAX_ALIGNMENT} is due`)
  }
  return value
}

/** Like ggml, takes tensors only where each begins at the next aligned byte: no hole, no overlap, none outside of the file. */
function requirePlaced (cursor: GgufCursor, tensors: GgufTensor[], alignment: number, dataBytes: number): void {
  let due = 0
  for (const { name, offset, bytes } of [...tensors].sort((a, b) => a.offset - b.offset)) {
    if (offset !== due) throw cursor.error(`places tensor ${name} at byte ${offset} of its data, where ${due} is due`)
    if (offset + bytes > dataBytes) throw cursor.error(`places tensor ${name} at bytes ${offset} to ${offset + bytes} of the ${Math.max(0, dataBytes)} bytes of data that it has: it is truncated`)
    due = alignTo(offset + bytes, alignment)
  }
}
