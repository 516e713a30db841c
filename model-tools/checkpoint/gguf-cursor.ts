import { ModelError } from '../errors.js'
import { VALUE_TYPES } from './gguf-format.js'
import type { GgufValue } from './gguf-header.js'

/** Bytes [position, position + length) of a file. Rejects when it does not have them. */
export type ReadRange = (position: number, length: number) => Promise<Uint8Array>

/** Read at once while the header is parsed. */
const WINDOW_BYTES = 1024 * 1024
/** The header of a vocabulary of 262,144 tokens with its merges has 15 MB; this bounds what a hostile file can make us keep. */
const MAX_HEADER_BYTES = 256 * 1024 * 1024

/** Bytes of one value, at least: a string has its length, an array its type and length. */
const MIN_VALUE_BYTES: Record<number, number> = {
  [VALUE_TYPES.u8]: 1, [VALUE_TYPES.i8]: 1, [VALUE_TYPES.bool]: 1, [VALUE_TYPES.u16]: 2, [VALUE_TYPES.i16]: 2, [VALUE_TYPES.u32]: 4, [VALUE_TYPES.i32]: 4, [VALUE_TYPES.f32]: 4,
  [VALUE_TYPES.u64]: 8, [VALUE_TYPES.i64]: 8, [VALUE_TYPES.f64]: 8, [VALUE_TYPES.string]: 8
}

/** Reads the primitives of a GGUF header in turn. Nothing is allocated for a length that the rest of the file does not have. */
export class GgufCursor {
  #window: Uint8Array = new Uint8Array(0)
  #view = new DataView(this.#window.buffer)
  /** Of the window, in the file. */
  #start = 0
  /** Next byte, in the window. */
  #at = 0
  readonly #decoder = new TextDecoder()

  constructor (private readonly path: string, private readonly fileBytes: number, private readonly read: ReadRange) {}

  /** Of the next byte, in the file. */
  get position (): number {
    return this.#start + this.#at
  }

  error (problem: string): ModelError {
    return new ModelError('malformed', `${this.path} ${problem}; it is damaged, get it again.`, { path: this.path })
  }

  async u32 (): Promise<number> {
    return this.#get(4, (view, at) => view.getUint32(at, true))
  }

  /** A 64-bit number that a number can hold. `what` names it in the error. */
  async u64 (what: string): Promise<number> {
    const value = await this.#get(8, (view, at) => view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32)
    if (!Number.isSafeInteger(value)) throw this.error(`has an impossible number for ${what}`)
    return value
  }

  /** A 64-bit count of things of at least `minBytes` each, all of which must fit in the rest of the header. */
  async count (what: string, minBytes: number): Promise<number> {
    const count = await this.u64(`the number of ${what}`)
    const left = Math.min(this.fileBytes, MAX_HEADER_BYTES) - this.position
    if (count * minBytes > left) throw this.error(`announces ${count} ${what} where ${Math.max(0, left)} bytes are left: it is truncated`)
    return count
  }

  async string (maxBytes: number, what: string): Promise<string> {
    const length = await this.u64(`the length of ${what}`)
    if (length > maxBytes) throw this.error(`announces ${length} bytes for ${what}, where ${maxBytes} are the most`)
    const at = await this.#take(length)
    return this.#decoder.decode(this.#window.subarray(at, at + length))
  }

  /** A metadata value with its type in front. `key` names it in errors. */
  async value (key: string, maxStringBytes: number): Promise<GgufValue> {
    const type = await this.u32()
    if (type === VALUE_TYPES.f32) return shortestDecimal(await this.#get(4, (view, at) => view.getFloat32(at, true)))
    if (type !== VALUE_TYPES.array) return this.#scalar(type, key, maxStringBytes)
    const itemType = await this.u32()
    const minBytes = MIN_VALUE_BYTES[itemType]
    if (minBytes == null) throw this.error(`has an array of type ${itemType} in ${key}`)
    const count = await this.count(`values of ${key}`, minBytes)
    const items: Array<number | boolean | string> = []
    for (let i = 0; i < count; i++) items.push(await this.#scalar(itemType, key, maxStringBytes))
    // One item type, so one type of items.
    return items as GgufValue
  }

  async #scalar (type: number, key: string, maxStringBytes: number): Promise<number | boolean | string> {
    switch (type) {
      case VALUE_TYPES.u8: return this.#get(1, (view, at) => view.getUint8(at))
      case VALUE_TYPES.i8: return this.#get(1, (view, at) => view.getInt8(at))
      case VALUE_TYPES.u16: return this.#get(2, (view, at) => view.getUint16(at, true))
      case VALUE_TYPES.i16: return this.#get(2, (view, at) => view.getInt16(at, true))
      case VALUE_TYPES.u32: return this.u32()
      case VALUE_TYPES.i32: return this.#get(4, (view, at) => view.getInt32(at, true))
      case VALUE_TYPES.f32: return this.#get(4, (view, at) => view.getFloat32(at, true))
      case VALUE_TYPES.f64: return this.#get(8, (view, at) => view.getFloat64(at, true))
      case VALUE_TYPES.u64: return this.u64(key)
      case VALUE_TYPES.i64: {
        const value = await this.#get(8, (view, at) => view.getBigInt64(at, true))
        if (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER) throw this.error(`has an impossible number for ${key}`)
        return Number(value)
      }
      case VALUE_TYPES.bool: {
        const byte = await this.#get(1, (view, at) => view.getUint8(at))
        if (byte > 1) throw this.error(`has ${byte} for ${key}, which is true or false`)
        return byte === 1
      }
      case VALUE_TYPES.string: return this.string(maxStringBytes, key)
      default: throw this.error(`has a value of unknown type ${type} in ${key}`)
    }
  }

  async #get<T> (bytes: number, get: (view: DataView, at: number) => T): Promise<T> {
    const at = await this.#take(bytes)
    return get(this.#view, at)
  }

  /** Makes `length` bytes available and steps over them. Returns where they are in the window. */
  async #take (length: number): Promise<number> {
    if (this.#at + length > this.#window.length) {
      const start = this.position
      if (start + length > this.fileBytes) throw this.error(`ends in the middle of its header, at byte ${this.fileBytes}: it is truncated`)
      if (start + length > MAX_HEADER_BYTES) throw this.error(`has a header of more than ${MAX_HEADER_BYTES} bytes`)
      this.#window = await this.read(start, Math.min(Math.max(length, WINDOW_BYTES), this.fileBytes - start))
      this.#view = new DataView(this.#window.buffer, this.#window.byteOffset, this.#window.byteLength)
      this.#start = start
      this.#at = 0
    }
    const at = this.#at
    this.#at += length
    return at
  }
}

/** The decimal that a person wrote down for a float32: 1e-6 and not 9.999999974752427e-7. Both stand for one float32. */
function shortestDecimal (value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const candidate = Number(value.toPrecision(digits))
    if (Math.fround(candidate) === value) return candidate
  }
  return value
}
