import assert from 'node:assert/strict'
import { bf16ToF32, f16ToF32, f32ToF16, fromHalf, toHalf } from '../../model-tools/float.js'

const bitsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length)
const floatOf = (bits: number): number => new Float32Array(new Uint32Array([bits]).buffer)[0]

/** The definition of a half, as arithmetic. */
function halfValue (half: number): number {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >> 10) & 31
  const fraction = half & 1023
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25)
}

describe('float', () => {
  const all = Uint16Array.from({ length: 65_536 }, (_, half) => half)

  it('decodes each of the 65,536 halves to its value', () => {
    const decoded = f16ToF32(all)
    for (let half = 0; half < 65_536; half++) {
      assert.ok(Object.is(decoded[half], halfValue(half)), `half 0x${half.toString(16)}: ${decoded[half]}`)
    }
  })

  it('gives every half back, NaN payloads too', () => {
    assert.deepEqual(f32ToF16(f16ToF32(all)), all)
  })

  it('rounds to the nearest half between any two neighbours, ties to even', () => {
    for (let half = 0; half < 0x7c00; half++) {
      // The step above the largest half ends at 65536, where the next would be.
      const above = half + 1 === 0x7c00 ? 65_536 : halfValue(half + 1)
      const middle = (halfValue(half) + above) / 2 // exact in float32
      const [bits] = bitsOf(new Float32Array([middle]))
      const even = half % 2 === 0 ? half : half + 1
      for (const [value, expected] of [[floatOf(bits - 1), half], [middle, even], [floatOf(bits + 1), half + 1]]) {
        for (const sign of [0, 0x8000]) {
          const found = toHalf(sign === 0 ? value : -value)
          if (found !== (expected | sign)) assert.fail(`${value} became 0x${found.toString(16)}, not 0x${(expected | sign).toString(16)}`)
        }
      }
    }
  })

  it('keeps zeros, infinities and the class of NaN', () => {
    const cases: Array<[string, number, number]> = [
      ['+0', 0x00000000, 0x0000], ['-0', 0x80000000, 0x8000],
      ['smallest float32 subnormal', 0x00000001, 0x0000], ['largest float32 subnormal', 0x807fffff, 0x8000],
      ['largest float32', 0x7f7fffff, 0x7c00], ['infinity', 0x7f800000, 0x7c00], ['-infinity', 0xff800000, 0xfc00],
      ['65504', 0x477fe000, 0x7bff], ['just under 65520', 0x477fefff, 0x7bff], ['65520', 0x477ff000, 0x7c00],
      ['quiet NaN', 0x7fc00000, 0x7e00], ['signalling NaN with upper payload', 0x7fa00000, 0x7d00],
      ['NaN whose payload is in the dropped bits', 0xff800001, 0xfe00]
    ]
    for (const [name, bits, expected] of cases) {
      const values = new Float32Array(new Uint32Array([bits]).buffer)
      assert.equal(f32ToF16(values)[0], expected, name)
    }
  })

  it('decodes every bfloat16 as the upper half of a float32', () => {
    const bits = bitsOf(bf16ToF32(all))
    for (let value = 0; value < 65_536; value++) assert.equal(bits[value], value * 65_536)
  })

  it('converts one number as it converts arrays', () => {
    assert.equal(toHalf(1), 0x3c00)
    assert.equal(fromHalf(0xc000), -2)
  })
})
