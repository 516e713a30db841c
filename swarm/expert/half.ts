/*
 * IEEE 754 half precision. Values that are normal halves, which hidden states almost all are, are rounded by integer arithmetic on
 * the float32's bits: adding half a unit of the half's last place, less one where that place is even, and cutting off 13 bits.
 */

const HALF_INFINITY = 0x7c00
const HALF_NAN = 0x7e00
const HALF_MAX = 0x7bff
const FLOAT_INFINITY = 0x7f800000
/** Bits of 2^-14, the smallest normal half. */
const FLOAT_OF_MIN_NORMAL = 0x38800000
/** Bits of 65,520, from which on rounding would leave the range. */
const FLOAT_OF_OVERFLOW = 0x477ff000
/** Bits of 2^-25: half of the smallest subnormal half. */
const FLOAT_OF_UNDERFLOW = 0x33000000
/** Difference of the exponents' biases, 127 - 15, in the half's place. */
const REBIAS = 112 << 10

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
 * Writes `count` values of `floats` from `from` on as halves, low byte first, into `bytes` at `at`, an even address of its buffer. Rounds
 * to nearest, ties to even. Finite values out of range become the largest half: one infinity would spoil a whole sum.
 */
export function writeHalves (floats: Float32Array, from: number, count: number, bytes: Uint8Array, at: number): void {
  const bitsOf = new Uint32Array(floats.buffer, floats.byteOffset + from * 4, count)
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset + at, count)
  for (let i = 0; i < count; i++) {
    const bits = bitsOf[i]
    const magnitude = bits & 0x7fffffff
    halves[i] = ((bits >>> 16) & 0x8000) | (magnitude >= FLOAT_OF_MIN_NORMAL && magnitude < FLOAT_OF_OVERFLOW
      ? ((magnitude + 0xfff + ((magnitude >>> 13) & 1)) >>> 13) - REBIAS
      : rareHalf(magnitude))
  }
}

/** Zero, subnormal halves, saturation, infinity and NaN, by the bits of a float32 without its sign. */
function rareHalf (magnitude: number): number {
  if (magnitude <= FLOAT_OF_UNDERFLOW) return 0
  if (magnitude > FLOAT_INFINITY) return HALF_NAN
  if (magnitude === FLOAT_INFINITY) return HALF_INFINITY
  if (magnitude >= FLOAT_OF_OVERFLOW) return HALF_MAX
  const mantissa = (magnitude & 0x7fffff) | 0x800000
  const places = 126 - (magnitude >>> 23)
  const half = mantissa >>> places
  const rest = mantissa & ((1 << places) - 1)
  const tie = 1 << (places - 1)
  return rest > tie || (rest === tie && (half & 1) === 1) ? half + 1 : half
}

/** Reads `floats.length` halves from `bytes` at `at`. Returns whether all are finite. */
export function readHalves (bytes: Uint8Array, at: number, floats: Float32Array): boolean {
  const start = bytes.byteOffset + at
  // Frames of several pieces have been joined, and are aligned; the others are small.
  return start % 2 === 0 ? readAligned(new Uint16Array(bytes.buffer, start, floats.length), floats) : readBytes(bytes, at, floats)
}

function readAligned (halves: Uint16Array, floats: Float32Array): boolean {
  let most = 0
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i]
    const magnitude = half & 0x7fff
    if (magnitude > most) most = magnitude
    floats[i] = floatOfHalf[half]
  }
  return most < HALF_INFINITY
}

function readBytes (bytes: Uint8Array, at: number, floats: Float32Array): boolean {
  let finite = true
  for (let i = 0; i < floats.length; i++, at += 2) {
    const high = bytes[at + 1]
    if ((high & 0x7c) === 0x7c) finite = false
    floats[i] = floatOfHalf[bytes[at] | (high << 8)]
  }
  return finite
}
