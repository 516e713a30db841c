/*
 * IEEE 754 half precision, by tables. For each sign and exponent of a float32 (9 bits) there is the half's base, the shift that
 * brings the mantissa into place, and the leading one that subnormals need.
 */

const HALF_INFINITY = 0x7c00
const HALF_MAX = 0x7bff
const FLOAT_INFINITY = 0x7f800000

const base = new Uint16Array(512)
const shift = new Uint8Array(512)
const leadingOne = new Uint32Array(512)
for (let biased = 0; biased < 256; biased++) {
  const exponent = biased - 127
  let magnitude = 0
  let places = 24
  let one = 0
  if (biased === 255) {
    magnitude = HALF_INFINITY // NaN is handled apart
  } else if (exponent > 15) {
    magnitude = HALF_MAX
  } else if (exponent >= -14) {
    magnitude = (exponent + 15) << 10
    places = 13
  } else if (exponent >= -25) {
    places = -exponent - 1
    one = 0x800000
  }
  for (const sign of [0, 0x100]) {
    base[sign | biased] = magnitude | (sign << 7)
    shift[sign | biased] = places
    leadingOne[sign | biased] = one
  }
}

const floatOfHalf = new Float32Array(65_536)
for (let half = 0; half < 65_536; half++) {
  const exponent = (half >> 10) & 0x1f
  const mantissa = half & 0x3ff
  const magnitude = exponent === 0
    ? mantissa * 2 ** -24
    : exponent === 31 ? (mantissa === 0 ? Infinity : NaN) : (1 + mantissa / 1024) * 2 ** (exponent - 15)
  floatOfHalf[half] = (half & 0x8000) === 0 ? magnitude : -magnitude
}

/**
 * Writes `count` values of `floats` from `from` on as halves, low byte first, into `bytes` at `at`. Rounds to nearest, ties to even.
 * Finite values out of range become the largest half: one infinity would spoil a whole sum.
 */
export function writeHalves (floats: Float32Array, from: number, count: number, bytes: Uint8Array, at: number): void {
  const bitsOf = new Uint32Array(floats.buffer, floats.byteOffset, floats.length)
  for (let i = from, to = from + count; i < to; i++) {
    const bits = bitsOf[i]
    const key = bits >>> 23
    let half: number
    if ((bits & 0x7fffffff) > FLOAT_INFINITY) {
      half = 0x7e00 | ((bits >>> 16) & 0x8000)
    } else {
      const mantissa = (bits & 0x7fffff) | leadingOne[key]
      const places = shift[key]
      half = base[key] + (mantissa >>> places)
      const rest = mantissa & ((1 << places) - 1)
      const tie = 1 << (places - 1)
      if (rest > tie || (rest === tie && (half & 1) === 1)) half++
      if ((half & 0x7fff) === HALF_INFINITY && (bits & 0x7fffffff) !== FLOAT_INFINITY) half = (half & 0x8000) | HALF_MAX
    }
    bytes[at] = half & 0xff
    bytes[at + 1] = half >>> 8
    at += 2
  }
}

/** Reads `floats.length` halves from `bytes` at `at`. Returns whether all are finite. */
export function readHalves (bytes: Uint8Array, at: number, floats: Float32Array): boolean {
  let finite = true
  for (let i = 0; i < floats.length; i++, at += 2) {
    const high = bytes[at + 1]
    if ((high & 0x7c) === 0x7c) finite = false
    floats[i] = floatOfHalf[bytes[at] | (high << 8)]
  }
  return finite
}
