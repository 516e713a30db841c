import assert from 'node:assert/strict'
import { readHalves, writeHalves } from '../../../swarm/expert/half.js'

function toHalf (value: number): number {
  const bytes = new Uint8Array(2)
  writeHalves(Float32Array.of(value), 0, 1, bytes, 0)
  return bytes[0] | (bytes[1] << 8)
}

function toFloat (half: number, at: number): { value: number, finite: boolean } {
  const floats = new Float32Array(1)
  const bytes = new Uint8Array(at + 2)
  bytes.set([half & 0xff, half >> 8], at)
  const finite = readHalves(bytes, at, floats)
  return { value: floats[0], finite }
}

/** By the definition of the format, without tables. */
function valueOf (half: number): number {
  const sign = (half & 0x8000) === 0 ? 1 : -1
  const exponent = (half >> 10) & 0x1f
  const mantissa = half & 0x3ff
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN
  return sign * (exponent === 0 ? mantissa / 2 ** 24 : (1 + mantissa / 1024) * 2 ** (exponent - 15))
}

describe('half precision', () => {
  it('reads all 65,536 values and writes them back', () => {
    for (let at = 0, half = 0; half < 65_536; half += at, at = 1 - at) { // each at an even and an odd address
      const { value, finite } = toFloat(half, at)
      if (!Object.is(value, valueOf(half)) || finite !== Number.isFinite(value)) assert.fail(`0x${half.toString(16)} read as ${value}`)
      const back = toHalf(value)
      if (Number.isNaN(value) ? (back & 0x7c00) !== 0x7c00 || (back & 0x3ff) === 0 : back !== half) assert.fail(`0x${half.toString(16)} came back as 0x${back.toString(16)}`)
    }
  })

  it('rounds to nearest, ties to even, between all neighbours', () => {
    const next = new Float32Array(1)
    const bits = new Uint32Array(next.buffer)
    for (let half = 0; half < 0x7bff; half++) {
      // Exact in float32: a half has 11 bits of mantissa.
      const middle = (valueOf(half) + valueOf(half + 1)) / 2
      const even = (half & 1) === 0 ? half : half + 1
      next[0] = middle
      bits[0]--
      const below = next[0]
      bits[0] += 2
      const above = next[0]
      if (toHalf(middle) !== even || toHalf(below) !== half || toHalf(above) !== half + 1) assert.fail(`between 0x${half.toString(16)} and the next`)
      if (toHalf(-middle) !== (even | 0x8000)) assert.fail(`below zero, 0x${half.toString(16)}`)
    }
  })

  for (const { name, input, expected } of [
    { name: 'the largest', input: 65_504, expected: 0x7bff },
    { name: 'just above the largest', input: 65_520, expected: 0x7bff },
    { name: 'far above the largest', input: 3e38, expected: 0x7bff },
    { name: 'far below the smallest', input: -3e38, expected: 0xfbff },
    { name: 'infinity', input: Infinity, expected: 0x7c00 },
    { name: 'half of the smallest, a tie', input: 2 ** -25, expected: 0 },
    { name: 'more than half of the smallest', input: 2 ** -25 * 1.001, expected: 1 },
    { name: 'a float32 subnormal', input: 1e-40, expected: 0 },
    { name: 'minus zero', input: -0, expected: 0x8000 }
  ]) {
    it(`writes ${name}`, () => { assert.equal(toHalf(input), expected) })
  }
})
