/**
 * Conversions between float32 and the 16-bit floats of checkpoints and of the wire. All byte forms are little-endian, which is
 * also the byte order of every platform that onnxruntime-node has binaries for, so typed arrays are views of the bytes.
 */

const F16_TO_F32 = buildF16ToF32()

// Of float32, as bits.
const IMPLICIT_BIT = 0x800000
const MANTISSA = 0x7fffff
const INFINITY_BITS = 0x7f800000
/** 2^-14 */
const SMALLEST_NORMAL_HALF = 0x38800000
/** 65520, half way between the largest half and the next power of two: from here on a half is infinite. */
const HALF_OVERFLOW = 0x477ff000
/** The biases of the exponents differ by 112; this is the difference in the place of a half's exponent. */
const EXPONENT_SHIFT = 112 << 10

function buildF16ToF32 (): Uint32Array {
  const table = new Uint32Array(65_536)
  for (let half = 0; half < 65_536; half++) {
    const sign = (half & 0x8000) << 16
    const exponent = (half >> 10) & 0x1f
    const mantissa = half & 0x3ff
    if (exponent === 31) {
      table[half] = sign | 0x7f800000 | (mantissa << 13)
    } else if (exponent !== 0) {
      table[half] = sign | ((exponent + 112) << 23) | (mantissa << 13)
    } else if (mantissa !== 0) {
      // A subnormal half is a normal float32: shift its leading bit into the place of the implicit one.
      const lead = Math.clz32(mantissa) - 21
      table[half] = sign | ((113 - lead) << 23) | (((mantissa << lead) & 0x3ff) << 13)
    } else {
      table[half] = sign
    }
  }
  return table
}

/** The bits of the half nearest to the float32 with bits `bits`: ties to even, overflow to infinity, NaN stays NaN with its upper payload. */
function halfOfBits (bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude >= SMALLEST_NORMAL_HALF) {
    if (magnitude < HALF_OVERFLOW) {
      // A carry out of the mantissa moves on into the exponent by itself.
      return sign | (((magnitude + 0xfff + ((magnitude >>> 13) & 1)) >>> 13) - EXPONENT_SHIFT)
    }
    if (magnitude <= INFINITY_BITS) return sign | 0x7c00
    // A payload that lies wholly in the dropped bits must not turn the NaN into an infinity.
    return sign | 0x7c00 | ((magnitude & MANTISSA) >>> 13 || 0x200)
  }
  // Subnormal halves count in steps of 2^-24; half a step and less is zero.
  const shift = 126 - (magnitude >>> 23)
  if (shift > 24) return sign
  const mantissa = (magnitude & MANTISSA) | IMPLICIT_BIT
  return sign | ((mantissa + (1 << (shift - 1)) - 1 + ((mantissa >>> shift) & 1)) >>> shift)
}

/** Float32 -> half bits, rounded to nearest even. `out` has the length of `values`. */
export function f32ToF16 (values: Float32Array, out = new Uint16Array(values.length)): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  for (let i = 0; i < bits.length; i++) out[i] = halfOfBits(bits[i])
  return out
}

/** Half bits -> float32, exact. `out` has the length of `halves`. */
export function f16ToF32 (halves: Uint16Array, out = new Float32Array(halves.length)): Float32Array {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length)
  for (let i = 0; i < halves.length; i++) bits[i] = F16_TO_F32[halves[i]]
  return out
}

/** Bfloat16 bits -> float32, exact. `out` has the length of `values`. */
export function bf16ToF32 (values: Uint16Array, out = new Float32Array(values.length)): Float32Array {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length)
  for (let i = 0; i < values.length; i++) bits[i] = values[i] << 16
  return out
}

const scalar = new Float32Array(1)
const scalarBits = new Uint32Array(scalar.buffer)

/** Bits of the half nearest to one number. */
export function toHalf (value: number): number {
  scalar[0] = value
  return halfOfBits(scalarBits[0])
}

/** Value of one half. */
export function fromHalf (half: number): number {
  scalarBits[0] = F16_TO_F32[half]
  return scalar[0]
}

/** View of bytes as 16-bit words; copies only where the bytes do not start on a word. */
export function words16 (bytes: Uint8Array): Uint16Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice()
  return new Uint16Array(aligned.buffer, aligned.byteOffset, bytes.byteLength >> 1)
}

/** View of bytes as float32; copies only where the bytes do not start on a float. */
export function floats32 (bytes: Uint8Array): Float32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  return new Float32Array(aligned.buffer, aligned.byteOffset, bytes.byteLength >> 2)
}

/** The bytes behind a typed array, without a copy. */
export function bytesOf (values: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}
