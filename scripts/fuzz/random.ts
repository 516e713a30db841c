import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** Seeded choices: the same seed makes the same inputs on every machine. */
export class Random {
  readonly #generator

  constructor (seed: number) {
    this.#generator = xoroshiro128plus(seed)
  }

  /** A whole number from 0 to `below` - 1. */
  below (below: number): number {
    return below <= 1 ? 0 : uniformInt(this.#generator, 0, below - 1)
  }

  chance (share: number): boolean {
    return this.below(1_000_000) < share * 1_000_000
  }

  of<T> (items: readonly T[]): T {
    return items[this.below(items.length)]
  }

  bytes (length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; at++) bytes[at] = this.below(256)
    return bytes
  }
}

/** What decoders get wrong: the ends of every width, and floats that are no numbers. */
const EDGES = [0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 0x7f800000, 0x7fc00000, 0x7c00]

/** A copy of valid bytes with one to four things done to it that a decoder must survive. */
export function mutated (random: Random, valid: Uint8Array, other: () => Uint8Array): Uint8Array {
  // Not slice: that of a Buffer shares its memory.
  let bytes: Uint8Array = new Uint8Array(valid)
  for (let changes = 1 + random.below(4); changes > 0; changes--) {
    const at = random.below(bytes.length)
    switch (random.below(8)) {
      case 0: if (bytes.length > 0) bytes[at] ^= 1 << random.below(8); break
      case 1: if (bytes.length > 0) bytes[at] = random.below(256); break
      case 2: bytes = bytes.slice(0, at); break
      case 3: bytes = joined(bytes, random.bytes(random.below(16))); break
      case 4: bytes = joined(bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + random.below(8)))); break
      case 5: bytes = joined(bytes.subarray(0, at), random.bytes(1 + random.below(8)), bytes.subarray(at)); break
      case 6: { // the rest of another valid input
        const rest = other()
        bytes = joined(bytes.subarray(0, at), rest.subarray(random.below(rest.length)))
        break
      }
      case 7: { // a number of one, two or four bytes, most often in the header
        const width = random.of([1, 2, 4])
        const place = random.chance(0.7) ? random.below(Math.min(bytes.length, 24)) : at
        if (place + width > bytes.length) break
        const view = new DataView(bytes.buffer, bytes.byteOffset)
        const value = random.of(EDGES)
        if (width === 1) view.setUint8(place, value & 0xff)
        else if (width === 2) view.setUint16(place, value & 0xffff, true)
        else view.setUint32(place, value, true)
      }
    }
  }
  return bytes
}

export function joined (...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}
