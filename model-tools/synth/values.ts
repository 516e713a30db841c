import { f32ToF16, toHalf } from '../float.js'
import { dtypeOf } from '../checkpoint/dtypes.js'
import { fillRandom } from './random.js'

/** What the values of a tensor are like: normally distributed. In the block formats the mean is always zero. */
export interface Distribution {
  mean: number
  deviation: number
}

/** Values that are made at once, a multiple of every block. Any page of a tensor can be made alone. */
const PAGE_VALUES = 65_536
const HALF_WORDS = 65_536

/** Normal quantiles: value i has a probability of 1 in 65,536. By Tukey's lambda with 0.14, within 1 % of the normal distribution up to 3 deviations. */
const NORMAL = Float64Array.from({ length: HALF_WORDS }, (_, i) => {
  const p = (i + 0.5) / HALF_WORDS
  return (p ** 0.14 - (1 - p) ** 0.14) * 4.91
})
/** 16 levels of a nibble, each as often: -5 to 5 steps from 8, as quantised weights lie, symmetric so that their mean is zero. */
const NIBBLES = [3, 4, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 12, 13]
/** Byte of random bits -> two nibbles. */
const NIBBLE_PAIRS = Array.from({ length: 256 }, (_, bits) => NIBBLES[bits & 15] | (NIBBLES[bits >> 4] << 4))
/** Byte of random bits -> signed byte, normally distributed with 40 steps a deviation. */
const SIGNED_BYTES = Array.from({ length: 256 }, (_, bits) => Math.round(40 * NORMAL[(bits + 0.5) * HALF_WORDS / 256]))
const NIBBLE_DEVIATION = deviationOf(NIBBLES.map(level => level - 8))
const BYTE_DEVIATION = deviationOf(SIGNED_BYTES)
/** Scales of Q6_K are between 48 and 63 steps, of either sign: the mean of its 64 levels is half a step below zero. */
const Q6_K_DEVIATION = deviationOf(Array.from({ length: 64 }, (_, level) => level - 32)) * 55.7

/** Two bytes at once. */
const NIBBLE_TABLE = doubled(NIBBLE_PAIRS)
const BYTE_TABLE = doubled(SIGNED_BYTES)

function doubled (table: number[]): Uint16Array {
  return Uint16Array.from({ length: HALF_WORDS }, (_, bits) => (table[bits & 255] & 255) | (table[bits >> 8] & 255) << 8)
}

function deviationOf (values: number[]): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length)
}

/** Random bits of the page in hand: 16 a value. Pages are made one at a time, by code that never waits. */
const words = new Uint32Array(PAGE_VALUES / 2)
const halfWords = new Uint16Array(words.buffer)
/** The page in hand, as large as the largest. */
const floats = new Float32Array(PAGE_VALUES)
const pageHalfWords = new Uint16Array(floats.buffer)
const pageBytes = new Uint8Array(floats.buffer)

/** Makes the page in hand out of the random bits. */
const MAKERS: Record<string, (distribution: Distribution) => void> = {
  F32: distribution => {
    const table = tableOf('F32', distribution, quantiles) as Float32Array
    for (let i = 0; i < PAGE_VALUES; i++) floats[i] = table[halfWords[i]]
  },
  F16: distribution => { lookUp(tableOf('F16', distribution, given => f32ToF16(quantiles(given))) as Uint16Array) },
  BF16: distribution => { lookUp(tableOf('BF16', distribution, given => brainFloats(quantiles(given))) as Uint16Array) },
  Q4_0: ({ deviation }) => {
    fillBlocks(18, NIBBLE_TABLE)
    putScales(18, 32, 0, deviation / NIBBLE_DEVIATION)
  },
  Q8_0: ({ deviation }) => {
    fillBlocks(34, BYTE_TABLE)
    putScales(34, 32, 0, deviation / BYTE_DEVIATION)
  },
  Q6_K: ({ deviation }) => {
    pageBytes.set(new Uint8Array(words.buffer, 0, PAGE_VALUES / 256 * 210))
    for (let at = 0; at < PAGE_VALUES / 256 * 210; at += 210) {
      for (let i = at + 192; i < at + 208; i++) pageBytes[i] = (pageBytes[i] & 0x80) === 0 ? 48 + (pageBytes[i] & 15) : 208 - (pageBytes[i] & 15)
    }
    putScales(210, 256, 208, deviation / Q6_K_DEVIATION)
  }
}

/** Dtypes in which random tensors can be made. */
export function isSynthesizable (dtype: string): boolean {
  return Object.hasOwn(MAKERS, dtype)
}

/**
 * Bytes [offset, offset + length) of a random tensor in a dtype of ggml or safetensors. The same for the same stream, whatever the range is.
 * Throws RangeError for a dtype that cannot be made.
 */
export function randomBytes (dtype: string, distribution: Distribution, stream: number, offset: number, length: number): Uint8Array {
  const stored = dtypeOf(dtype)
  if (stored == null || !isSynthesizable(dtype)) throw new RangeError(`Random ${dtype} cannot be made`)
  const size = PAGE_VALUES / stored.blockValues * stored.blockBytes
  const out = new Uint8Array(length)
  for (let page = Math.floor(offset / size); page * size < offset + length; page++) {
    fillRandom(words, stream, page)
    MAKERS[dtype](distribution)
    const start = Math.max(offset, page * size)
    const end = Math.min(offset + length, (page + 1) * size)
    out.set(pageBytes.subarray(start - page * size, end - page * size), start - offset)
  }
  return out
}

/** Tables by dtype and distribution: a model has some twenty, of 128 KiB or 256 KiB. */
const tables = new Map<string, Uint16Array | Float32Array>()

function tableOf (dtype: string, distribution: Distribution, make: (distribution: Distribution) => Uint16Array | Float32Array): Uint16Array | Float32Array {
  const key = `${dtype} ${distribution.mean} ${distribution.deviation}`
  const found = tables.get(key) ?? make(distribution)
  tables.set(key, found)
  return found
}

function quantiles ({ mean, deviation }: Distribution): Float32Array {
  return Float32Array.from(NORMAL, quantile => mean + deviation * quantile)
}

/** Rounded to nearest, ties up: random values have no ties to even to keep. */
function brainFloats (values: Float32Array): Uint16Array {
  return Uint16Array.from(new Uint32Array(values.buffer), bits => (bits + 0x8000) >>> 16)
}

function lookUp (table: Uint16Array): void {
  for (let i = 0; i < PAGE_VALUES; i++) pageHalfWords[i] = table[halfWords[i]]
}

/** Blocks of two bytes for a scale and then random bytes, put through a table. */
function fillBlocks (blockBytes: number, table: Uint16Array): void {
  const step = blockBytes / 2
  const end = PAGE_VALUES / 32 * step
  for (let at = 0, from = 0; at < end; at += step) {
    for (let i = at + 1; i < at + step; i++) pageHalfWords[i] = table[halfWords[from++]]
  }
}

/** Scales of four kinds around `scale`: blocks of real weights differ more, but not in what they cost. */
function putScales (blockBytes: number, blockValues: number, offset: number, scale: number): void {
  const halves = [0.87, 0.95, 1.05, 1.12].map(factor => toHalf(scale * factor))
  for (let block = 0, at = offset / 2; block < PAGE_VALUES / blockValues; block++, at += blockBytes / 2) pageHalfWords[at] = halves[words[block] >>> 30]
}
