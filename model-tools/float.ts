/**
 * Conversions between float32 and the 16-bit floats of checkpoints and of the wire. All byte forms are little-endian, which is
 * also the byte order of every platform that onnxruntime-node has binaries for, so typed arrays are views of the bytes.
 */

const F16_TO_F32 = buildF16ToF32()
/** Per sign and exponent of a float32 (its upper 9 bits): the half to start from and how far the mantissa is shifted right. */
const { base: F32_BASE, shift: F32_SHIFT } = buildF32ToF16()

const IMPLICIT_BIT = 0x800000
const MANTISSA = 0x7fffff

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

function buildF32ToF16 (): { base: Uint16Array, shift: Uint8Array } {
  const base = new Uint16Array(512)
  const shift = new Uint8Array(512)
  for (let exponent = 0; exponent < 256; exponent++) {
    const power = exponent - 127
    let half: number
    let bits: number
    if (power > 15) {
      half = 0x7c00
      bits = 25 // the mantissa vanishes
    } else if (power >= -14) {
      // The implicit bit is kept in the mantissa and adds 1 to the exponent, so a carry from rounding moves on by itself.
      half = (power + 14) << 10
      bits = 13
    } else {
      half = 0
      bits = Math.min(-(power + 1), 25)
    }
    base[exponent] = half
    base[exponent + 256] = half | 0x8000
    shift[exponent] = shift[exponent + 256] = bits
  }
  return { base, shift }
}

/** The bits of a half nearest to the float32 with bits `bits`: ties to even, overflow to infinity, NaN stays NaN with its upper payload. */
function halfOfBits (bits: number): number {
  const top = bits >>> 23
  const exponent = top & 0xff
  const fraction = bits & MANTISSA
  if (exponent === 255 && fraction !== 0) {
    // A payload that lies wholly in the dropped bits must not turn the NaN into an infinity.
    const payload = fraction >>> 13
    return F32_BASE[top] | (payload === 0 ? 0x200 : payload)
  }
  const mantissa = exponent === 0 || exponent === 255 ? fraction : fraction | IMPLICIT_BIT
  const bitsOut = F32_SHIFT[top]
  const odd = (mantissa >>> bitsOut) & 1
  return F32_BASE[top] + ((mantissa + (1 << (bitsOut - 1)) - 1 + odd) >>> bitsOut)
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
