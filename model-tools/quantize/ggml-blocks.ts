import { fromHalf } from '../float.js'
import { notFinite } from './block.js'
import type { EncodedRows } from './rows.js'

/*
 * The block formats of ggml that published checkpoints use, as its ggml-common.h lays them out. All numbers are little-endian, `d` and `dmin`
 * are halves, and every block stands for neighbours along a row.
 *
 * Q4_0, 32 values in 18 bytes: d, 16 bytes; value i < 16 is the low nibble of byte i, value 16 + i its high nibble; x = (nibble - 8) * d
 * Q8_0, 32 values in 34 bytes: d, 32 signed bytes; x = byte * d
 * Q4_K, 256 values in 144 bytes: d, dmin, 12 bytes of scales and minima of 6 bits for 8 groups of 32, 128 bytes of nibbles; x = nibble * d * scale - dmin * min
 * Q6_K, 256 values in 210 bytes: 128 bytes with the lower 4 bits, 64 with the upper 2, 16 signed scales of groups of 16, d; x = (level - 32) * d * scale
 */
/** Values in a block of Q4_0 or Q8_0. */
const BLOCK = 32
const Q4_0_BYTES = 18
const Q8_0_BYTES = 34
const Q4_K_BYTES = 144
const Q6_K_BYTES = 210
const SUPER_BLOCK = 256
/** Exponent bits of a half; all set means infinity or NaN. */
const HALF_EXPONENT = 0x7c00

export function decodeQ40 (bytes: Uint8Array): Float32Array {
  const out = new Float32Array(bytes.length / Q4_0_BYTES * BLOCK)
  for (let at = 0, to = 0; at < bytes.length; at += Q4_0_BYTES, to += BLOCK) {
    const d = halfAt(bytes, at)
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 2 + i]
      out[to + i] = ((pair & 15) - 8) * d
      out[to + 16 + i] = ((pair >> 4) - 8) * d
    }
  }
  return out
}

export function decodeQ80 (bytes: Uint8Array): Float32Array {
  const out = new Float32Array(bytes.length / Q8_0_BYTES * BLOCK)
  for (let at = 0, to = 0; at < bytes.length; at += Q8_0_BYTES, to += BLOCK) {
    const d = halfAt(bytes, at)
    for (let i = 0; i < BLOCK; i++) out[to + i] = signed(bytes[at + 2 + i]) * d
  }
  return out
}

export function decodeQ4K (bytes: Uint8Array): Float32Array {
  const out = new Float32Array(bytes.length / Q4_K_BYTES * SUPER_BLOCK)
  for (let at = 0, to = 0; at < bytes.length; at += Q4_K_BYTES, to += SUPER_BLOCK) {
    const d = halfAt(bytes, at)
    const dmin = halfAt(bytes, at + 2)
    for (let group = 0; group < 8; group++) {
      const { scale, min } = scaleOfQ4K(bytes, at + 4, group)
      const step = d * scale
      const offset = dmin * min
      // Two groups share 32 bytes: the even one has the low nibbles.
      const from = at + 16 + (group >> 1) * 32
      const shift = (group & 1) * 4
      for (let i = 0; i < 32; i++) out[to + group * 32 + i] = ((bytes[from + i] >> shift) & 15) * step - offset
    }
  }
  return out
}

/** 6 bits each: groups 0 to 3 lie in the low bits of bytes 0 to 7, groups 4 to 7 in bytes 8 to 11 and the upper bits of the others. */
function scaleOfQ4K (bytes: Uint8Array, at: number, group: number): { scale: number, min: number } {
  if (group < 4) return { scale: bytes[at + group] & 63, min: bytes[at + group + 4] & 63 }
  const low = bytes[at + group + 4]
  return { scale: (low & 15) | ((bytes[at + group - 4] >> 6) << 4), min: (low >> 4) | ((bytes[at + group] >> 6) << 4) }
}

export function decodeQ6K (bytes: Uint8Array): Float32Array {
  const out = new Float32Array(bytes.length / Q6_K_BYTES * SUPER_BLOCK)
  for (let at = 0, to = 0; at < bytes.length; at += Q6_K_BYTES, to += SUPER_BLOCK) {
    const d = halfAt(bytes, at + 208)
    // Each half of the block has 64 bytes of lower bits, 32 of upper bits, and four runs of 32 values.
    for (let half = 0; half < 2; half++) {
      const lower = at + half * 64
      const upper = at + 128 + half * 32
      for (let run = 0; run < 4; run++) {
        const from = lower + (run & 1) * 32
        const nibbleShift = (run >> 1) * 4
        for (let i = 0; i < 32; i++) {
          const level = ((bytes[from + i] >> nibbleShift) & 15) | (((bytes[upper + i] >> (2 * run)) & 3) << 4)
          const scale = signed(bytes[at + 192 + half * 8 + run * 2 + (i >> 4)])
          out[to + half * 128 + run * 32 + i] = (level - 32) * scale * d
        }
      }
    }
  }
  return out
}

/** Q4_0 as q4: the same nibbles and scales, nibbles of one byte being neighbours. Throws ModelError 'malformed' on a scale that is no number. */
export function carryQ40 (bytes: Uint8Array): EncodedRows {
  const blocks = bytes.length / Q4_0_BYTES
  const data = new Uint8Array(blocks * 16)
  const scales = new Uint8Array(blocks * 2)
  for (let block = 0, at = 0, to = 0; block < blocks; block++, at += Q4_0_BYTES, to += 16) {
    carryScale(bytes, at, scales, block)
    for (let i = 0; i < 8; i++) {
      const first = bytes[at + 2 + 2 * i]
      const second = bytes[at + 3 + 2 * i]
      data[to + i] = (first & 15) | ((second & 15) << 4)
      data[to + 8 + i] = (first >> 4) | (second & 0xf0)
    }
  }
  return { data, scales }
}

/** Q8_0 as q8: the same bytes moved by 128, the same scales. Throws ModelError 'malformed' on a scale that is no number. */
export function carryQ80 (bytes: Uint8Array): EncodedRows {
  const blocks = bytes.length / Q8_0_BYTES
  const data = new Uint8Array(blocks * BLOCK)
  const scales = new Uint8Array(blocks * 2)
  for (let block = 0, at = 0, to = 0; block < blocks; block++, at += Q8_0_BYTES, to += BLOCK) {
    carryScale(bytes, at, scales, block)
    // In two's complement, adding 128 is turning the sign bit.
    for (let i = 0; i < BLOCK; i++) data[to + i] = bytes[at + 2 + i] ^ 0x80
  }
  return { data, scales }
}

function carryScale (bytes: Uint8Array, at: number, scales: Uint8Array, block: number): void {
  const upper = bytes[at + 1]
  if (((upper << 8) & HALF_EXPONENT) === HALF_EXPONENT) throw notFinite()
  scales[2 * block] = bytes[at]
  scales[2 * block + 1] = upper
}

function halfAt (bytes: Uint8Array, at: number): number {
  return fromHalf(bytes[at] | (bytes[at + 1] << 8))
}

function signed (byte: number): number {
  return (byte << 24) >> 24
}
