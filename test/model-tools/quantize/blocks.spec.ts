import assert from 'node:assert/strict'
import { ModelError } from '../../../model-tools/errors.js'
import { fromHalf, toHalf } from '../../../model-tools/float.js'
import { quantizeQ4 } from '../../../model-tools/quantize/q4.js'
import { quantizeQ8 } from '../../../model-tools/quantize/q8.js'
import { quantizeU4 } from '../../../model-tools/quantize/u4.js'
import { dataBytes, decodeRow, decodeRows, encodeRows, scaleBytes, WEIGHT_FORMATS, zeroBytes } from '../../../model-tools/quantize/rows.js'
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

  it('keeps 4 bits in blocks of 64 about as well as in blocks of 32', () => {
    const gaussian = randomNormal(64 * 4000, 1)
    const heavy = gaussian.map(x => x * (1 + 0.15 * x * x))
    for (const ordinary of [gaussian, heavy]) {
      assert.ok(relativeError('u4', ordinary) < 1.04 * relativeError('q4', ordinary), `${relativeError('u4', ordinary)}, ${relativeError('q4', ordinary)}`)
    }
  })

  it('leaves no block of 64 an error of more than 0.6 of the steps of its range', () => {
    const { data, scales, zeros } = quantizeU4(values, 192)
    const decoded = decodeRows('u4', { data, scales: new Uint8Array(scales.buffer), zeros }, 192, 0, values.length / 192)
    for (let start = 0; start < values.length; start += 64) {
      const block = values.subarray(start, start + 64)
      const step = (Math.max(0, ...block) - Math.min(0, ...block)) / 15
      const error = Math.sqrt(block.reduce((sum, x, i) => sum + (decoded[start + i] - x) ** 2, 0) / 64)
      assert.ok(error <= 0.6 * step + (step < SUBNORMAL ? 15 * 2 ** -25 : 0), `block from ${start}: ${error} at a step of ${step}`)
    }
  })

  it('gives each block of 64 a zero point, low nibble first, and rows an even number of them', () => {
    const row = new Float32Array(192)
    row.fill(3, 0, 64) // one-sided: zero is the lowest level, or the highest
    row.fill(-3, 64, 128)
    for (let i = 128; i < 192; i++) row[i] = i % 2 === 0 ? 2 : -1
    const { data, scales, zeros } = quantizeU4(Float32Array.from([...row, ...row.map(x => -x)]), 192)
    assert.deepEqual([...zeros], [0 | (15 << 4), 5, 15 | (0 << 4), 10])
    assert.deepEqual([data[0], data[32], data[64]], [255, 0, 15 | (0 << 4)])
    assert.deepEqual([...scales.subarray(0, 3)], [toHalf(0.2), toHalf(0.2), toHalf(0.2)])
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
    // u4 draws in the ends of a block's range each time.
    for (const format of WEIGHT_FORMATS.filter(each => each !== 'u4')) {
      const ordinary = randomValues(32 * 100, 3)
      const once = encodeRows(format, ordinary, 32)
      const twice = encodeRows(format, decodeRows(format, once, 32, 0, 100), 32)
      assert.deepEqual(twice, once, format)
    }
  })

  it('decodes one row as part of all, from bytes at any address', () => {
    for (const columns of [64, 192]) {
      const matrix = randomValues(columns * 9, 5)
      for (const format of WEIGHT_FORMATS) {
        const { data, scales, zeros } = encodeRows(format, matrix, columns)
        assert.equal(data.byteLength, dataBytes(format, columns * 9), format)
        assert.equal(scales?.byteLength ?? 0, scaleBytes(format, columns * 9), format)
        assert.equal(zeros?.byteLength ?? 0, zeroBytes(format, [9, columns]), format)
        const whole = decodeRows(format, { data, scales, zeros }, columns, 0, 9)
        const odd = { data: oddAddress(data), scales: scales && oddAddress(scales), zeros: zeros && oddAddress(zeros) }
        const out = new Float32Array(400)
        decodeRow(format, odd, columns, 4, out, 100)
        assert.deepEqual(out.subarray(100, 100 + columns), whole.subarray(4 * columns, 5 * columns), format)
        assert.ok(out.subarray(0, 100).every(value => value === 0) && out.subarray(100 + columns).every(value => value === 0), format)
      }
    }
  })

  it('refuses weights that are no numbers or too large', () => {
    const cases: Array<[number, string]> = [[NaN, 'f32 f16 q8 q4 u4'], [Infinity, 'f32 f16 q8 q4 u4'], [-Infinity, 'f32 f16 q8 q4 u4'], [1e5, 'f16'], [1e6, 'f16 q4 u4'], [1e9, 'f16 q8 q4 u4']]
    for (const [value, refusing] of cases) {
      for (const format of WEIGHT_FORMATS) {
        const block = new Float32Array(64)
        block[40] = value
        const encode = (): unknown => encodeRows(format, block, 64)
        if (refusing.split(' ').includes(format)) assert.throws(encode, (error: unknown) => error instanceof ModelError && error.code === 'malformed', `${value} in ${format}`)
        else assert.doesNotThrow(encode, `${value} in ${format}`)
      }
    }
  })
})

/** Box-Muller over the uniform values of the fixture. */
function randomNormal (count: number, seed: number): Float32Array {
  const uniform = randomValues(2 * count, seed)
  return Float32Array.from({ length: count }, (_, i) => Math.sqrt(-2 * Math.log((uniform[2 * i] + 1) / 2 + 1e-9)) * Math.cos(Math.PI * uniform[2 * i + 1]))
}

/** Root of the squared error over that of the squares, in rows of 256. */
function relativeError (format: 'q4' | 'u4', values: Float32Array): number {
  const decoded = decodeRows(format, encodeRows(format, values, 256), 256, 0, values.length / 256)
  const squares = (of: Float32Array): number => of.reduce((sum, x) => sum + x * x, 0)
  return Math.sqrt(squares(values.map((x, i) => x - decoded[i])) / squares(values))
}

function oddAddress (bytes: Uint8Array): Uint8Array {
  const moved = new Uint8Array(bytes.length + 1)
  moved.set(bytes, 1)
  return moved.subarray(1)
}
