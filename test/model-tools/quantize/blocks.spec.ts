import assert from 'node:assert/strict'
import { ModelError } from '../../../model-tools/errors.js'
import { fromHalf, toHalf } from '../../../model-tools/float.js'
import { quantizeQ4 } from '../../../model-tools/quantize/q4.js'
import { quantizeQ8 } from '../../../model-tools/quantize/q8.js'
import { dataBytes, decodeRow, decodeRows, encodeRows, scaleBytes, WEIGHT_FORMATS } from '../../../model-tools/quantize/rows.js'
import { randomValues } from '../fixtures.js'

/** Blocks that reach every branch: ordinary ones of many magnitudes, one-sided ones, zeros, tiny ones with subnormal scales. */
function sampleBlocks (): Float32Array {
  const values = randomValues(32 * 3000, 7)
  for (let block = 0; block < 3000; block++) {
    const size = 2 ** ((block % 36) - 30)
    for (let i = 0; i < 32; i++) {
      const at = block * 32 + i
      values[at] *= size
      if (block % 5 === 0) values[at] = Math.abs(values[at])
      if (block % 7 === 0) values[at] = 0
    }
    // As far on the one side as on the other: the worst case of the asymmetric range of four bits.
    if (block % 11 === 0) {
      values[block * 32] = 4 * size
      values[block * 32 + 1] = -4 * size
    }
  }
  return values
}

const SUBNORMAL = 2 ** -14
/** Rounding of float64 to float32 in what is compared. */
const SLACK = 1 + 1e-6

describe('quantize', () => {
  const values = sampleBlocks()

  it('keeps 4 bits within half a step, and within one step where the range ends', () => {
    const { data, scales } = quantizeQ4(values)
    const decoded = decodeRows('q4', { data, scales: new Uint8Array(scales.buffer) }, 32, 0, values.length / 32)
    for (let i = 0; i < values.length; i++) {
      const scale = fromHalf(scales[Math.floor(i / 32)])
      const step = Math.abs(scale)
      const clamped = values[i] / scale > 7.5
      const bound = (clamped ? step : step / 2) + (step < SUBNORMAL ? 8 * 2 ** -25 : 0)
      assert.ok(Math.abs(decoded[i] - values[i]) <= bound * SLACK, `value ${i}: ${values[i]} became ${decoded[i]} at step ${step}`)
    }
  })

  it('keeps 8 bits within half a step', () => {
    const { data, scales } = quantizeQ8(values)
    const decoded = decodeRows('q8', { data, scales: new Uint8Array(scales.buffer) }, 32, 0, values.length / 32)
    for (let i = 0; i < values.length; i++) {
      const step = fromHalf(scales[Math.floor(i / 32)])
      const bound = step / 2 + (step < SUBNORMAL ? 127 * 2 ** -25 : 0)
      assert.ok(Math.abs(decoded[i] - values[i]) <= bound * SLACK, `value ${i}: ${values[i]} became ${decoded[i]} at step ${step}`)
    }
  })

  it('puts neighbours into one byte, low nibble first, with GGUF\'s signed scale', () => {
    const block = new Float32Array(32)
    block[0] = 8 // the largest: it must become -8 exactly
    block[1] = -7
    block[2] = 1
    block[31] = -1
    const { data, scales } = quantizeQ4(block)
    assert.equal(scales[0], toHalf(-1))
    assert.equal(data.length, 16)
    assert.deepEqual([data[0], data[1], data[15]], [0 | (15 << 4), 7 | (8 << 4), 8 | (9 << 4)])
  })

  it('stores 8 bits with an offset of 128', () => {
    const block = new Float32Array(32)
    block[0] = 127
    block[1] = -127
    block[2] = 3
    const { data, scales } = quantizeQ8(block)
    assert.equal(scales[0], toHalf(1))
    assert.deepEqual([...data.subarray(0, 4)], [255, 1, 131, 128])
  })

  it('quantises again to the same bytes', () => {
    for (const format of WEIGHT_FORMATS) {
      const ordinary = randomValues(32 * 100, 3)
      const once = encodeRows(format, ordinary)
      const twice = encodeRows(format, decodeRows(format, once, 32, 0, 100))
      assert.deepEqual(twice, once, format)
    }
  })

  it('decodes one row as part of all, from bytes at any address', () => {
    const matrix = randomValues(64 * 9, 5)
    for (const format of WEIGHT_FORMATS) {
      const { data, scales } = encodeRows(format, matrix)
      assert.equal(data.byteLength, dataBytes(format, 64 * 9), format)
      assert.equal(scales?.byteLength ?? 0, scaleBytes(format, 64 * 9), format)
      const whole = decodeRows(format, { data, scales }, 64, 0, 9)
      const odd = { data: oddAddress(data), scales: scales == null ? undefined : oddAddress(scales) }
      const out = new Float32Array(200)
      decodeRow(format, odd, 64, 4, out, 100)
      assert.deepEqual(out.subarray(100, 164), whole.subarray(4 * 64, 5 * 64), format)
      assert.ok(out.subarray(0, 100).every(value => value === 0) && out.subarray(164).every(value => value === 0), format)
    }
  })

  it('refuses weights that are no numbers or too large', () => {
    const cases: Array<[number, string]> = [[NaN, 'f32 f16 q8 q4'], [Infinity, 'f32 f16 q8 q4'], [-Infinity, 'f32 f16 q8 q4'], [1e5, 'f16'], [1e6, 'f16 q4'], [1e9, 'f16 q8 q4']]
    for (const [value, refusing] of cases) {
      for (const format of WEIGHT_FORMATS) {
        const block = new Float32Array(64)
        block[40] = value
        const encode = (): unknown => encodeRows(format, block)
        if (refusing.split(' ').includes(format)) assert.throws(encode, (error: unknown) => error instanceof ModelError && error.code === 'malformed', `${value} in ${format}`)
        else assert.doesNotThrow(encode, `${value} in ${format}`)
      }
    }
  })
})

function oddAddress (bytes: Uint8Array): Uint8Array {
  const moved = new Uint8Array(bytes.length + 1)
  moved.set(bytes, 1)
  return moved.subarray(1)
}
