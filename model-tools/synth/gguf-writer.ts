import { writeAtomically } from '../bundle/atomic-file.js'
import { alignTo, DEFAULT_ALIGNMENT, GGUF_MAGIC, tensorTypeNumber, VALUE_TYPES } from '../checkpoint/gguf-format.js'
import type { StreamedTensor, WriteHooks } from './stream.js'
import { streamTensor } from './stream.js'

/** A metadata value with the type that llama.cpp expects of its key. */
export type GgufField =
  | { type: 'u32' | 'i32' | 'f32', value: number }
  | { type: 'bool', value: boolean }
  | { type: 'string', value: string }
  | { type: 'u32[]' | 'i32[]' | 'f32[]', value: readonly number[] }
  | { type: 'bool[]', value: readonly boolean[] }
  | { type: 'string[]', value: readonly string[] }

export type GgufMetadata = Readonly<Record<string, GgufField>>

const VERSION = 3
const encoder = new TextEncoder()

/** Bytes of a GGUF file with these contents. */
export function ggufBytes (metadata: GgufMetadata, tensors: readonly StreamedTensor[]): number {
  return ggufHeader(metadata, tensors).bytes
}

/**
 * Writes a GGUF file (version 3): metadata and tensors in the given order, whole or not at all. Memory: the header and one step.
 * Rejects with the file system's error or the signal's reason.
 */
export async function writeGguf (path: string, metadata: GgufMetadata, tensors: readonly StreamedTensor[], hooks: WriteHooks = {}): Promise<void> {
  const { header, bytes } = ggufHeader(metadata, tensors)
  await writeAtomically(path, async sink => {
    await sink.write(header)
    hooks.onBytes?.(header.length)
    for (const tensor of tensors) {
      await streamTensor(tensor, sink, hooks)
      const end = Math.min(bytes, alignTo(sink.position, DEFAULT_ALIGNMENT))
      hooks.onBytes?.(end - sink.position)
      await sink.padTo(end)
    }
  })
}

/** The header of such a file, and the bytes of the whole. */
export function ggufHeader (metadata: GgufMetadata, tensors: ReadonlyArray<Omit<StreamedTensor, 'read'>>): { header: Uint8Array, bytes: number } {
  const pieces = new Pieces()
  const pairs = Object.entries(metadata)
  pieces.u32(GGUF_MAGIC).u32(VERSION).u64(tensors.length).u64(pairs.length)
  for (const [key, field] of pairs) writeField(pieces.string(key), field)
  let offset = 0
  for (const { name, dtype, shape, bytes } of tensors) {
    pieces.string(name).u32(shape.length)
    for (const size of [...shape].reverse()) pieces.u64(size)
    pieces.u32(tensorTypeNumber(dtype)).u64(offset)
    offset = alignTo(offset + bytes, DEFAULT_ALIGNMENT)
  }
  pieces.zeros(alignTo(pieces.length, DEFAULT_ALIGNMENT) - pieces.length)
  const header = pieces.join()
  return { header, bytes: header.length + offset }
}

function writeField (pieces: Pieces, field: GgufField): void {
  switch (field.type) {
    case 'u32':
    case 'i32':
    case 'f32':
      pieces.u32(VALUE_TYPES[field.type])
      writeNumber(pieces, field.type, field.value)
      break
    case 'bool':
      pieces.u32(VALUE_TYPES.bool).byte(field.value ? 1 : 0)
      break
    case 'string':
      pieces.u32(VALUE_TYPES.string).string(field.value)
      break
    case 'u32[]':
    case 'i32[]':
    case 'f32[]': {
      const type = field.type === 'u32[]' ? 'u32' : field.type === 'i32[]' ? 'i32' : 'f32'
      pieces.u32(VALUE_TYPES.array).u32(VALUE_TYPES[type]).u64(field.value.length)
      for (const value of field.value) writeNumber(pieces, type, value)
      break
    }
    case 'bool[]':
      pieces.u32(VALUE_TYPES.array).u32(VALUE_TYPES.bool).u64(field.value.length)
      for (const value of field.value) pieces.byte(value ? 1 : 0)
      break
    case 'string[]':
      pieces.u32(VALUE_TYPES.array).u32(VALUE_TYPES.string).u64(field.value.length)
      for (const value of field.value) pieces.string(value)
      break
    default: field satisfies never
  }
}

function writeNumber (pieces: Pieces, type: 'u32' | 'i32' | 'f32', value: number): void {
  if (type === 'f32') pieces.f32(value)
  else pieces.u32(value >>> 0)
}

/** Little-endian bytes that grow at their end. */
class Pieces {
  #bytes = new Uint8Array(64 * 1024)
  #view = new DataView(this.#bytes.buffer)
  length = 0

  byte (value: number): this {
    const at = this.#take(1)
    this.#view.setUint8(at, value)
    return this
  }

  u32 (value: number): this {
    const at = this.#take(4)
    this.#view.setUint32(at, value, true)
    return this
  }

  f32 (value: number): this {
    const at = this.#take(4)
    this.#view.setFloat32(at, value, true)
    return this
  }

  u64 (value: number): this {
    const at = this.#take(8)
    this.#view.setBigUint64(at, BigInt(value), true)
    return this
  }

  string (text: string): this {
    const bytes = encoder.encode(text)
    this.u64(bytes.length)
    const at = this.#take(bytes.length)
    this.#bytes.set(bytes, at)
    return this
  }

  zeros (count: number): this {
    this.#take(count)
    return this
  }

  join (): Uint8Array {
    return this.#bytes.subarray(0, this.length)
  }

  /** Where `count` new bytes are. The buffer may be another one afterwards. */
  #take (count: number): number {
    const at = this.length
    this.length += count
    if (this.length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(2 * this.#bytes.length, this.length))
      grown.set(this.#bytes.subarray(0, at))
      this.#bytes = grown
      this.#view = new DataView(grown.buffer)
    }
    return at
  }
}
