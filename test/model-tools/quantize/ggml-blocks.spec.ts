import assert from 'node:assert/strict'
import { dtypeOf } from '../../../model-tools/checkpoint/dtypes.js'
import { toHalf } from '../../../model-tools/float.js'
import { decodeRows } from '../../../model-tools/quantize/rows.js'
import { modelError } from '../fixtures.js'

/*
 * References written from the block layouts of ggml-common.h alone: each gives value i of a block, one at a time, with plain arithmetic.
 */
type Block = DataView

function half (bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const mantissa = bits & 1023
  return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1 + mantissa / 1024) * 2 ** (exponent - 15))
}

/** A field of 6 bits of Q4_K: 12 bytes are 8 scales and 8 minima. */
function sixBits (block: Block, group: number, isMin: boolean): number {
  const byte = (i: number): number => block.getUint8(4 + i)
  if (group < 4) return byte(group + (isMin ? 4 : 0)) % 64
  const low = isMin ? Math.floor(byte(group + 4) / 16) : byte(group + 4) % 16
  return low + 16 * Math.floor(byte(isMin ? group : group - 4) / 64)
}

const REFERENCES: Record<string, { bytes: number, values: number, value: (block: Block, i: number) => number }> = {
  Q4_0: {
    bytes: 18, values: 32,
    value: (block, i) => {
      const byte = block.getUint8(2 + i % 16)
      return ((i < 16 ? byte % 16 : Math.floor(byte / 16)) - 8) * half(block.getUint16(0, true))
    }
  },
  Q8_0: { bytes: 34, values: 32, value: (block, i) => block.getInt8(2 + i) * half(block.getUint16(0, true)) },
  Q4_K: {
    bytes: 144, values: 256,
    value: (block, i) => {
      const group = Math.floor(i / 32)
      const byte = block.getUint8(16 + 32 * Math.floor(i / 64) + i % 32)
      const nibble = group % 2 === 0 ? byte % 16 : Math.floor(byte / 16)
      return half(block.getUint16(0, true)) * sixBits(block, group, false) * nibble - half(block.getUint16(2, true)) * sixBits(block, group, true)
    }
  },
  Q6_K: {
    bytes: 210, values: 256,
    value: (block, i) => {
      const [part, within] = [Math.floor(i / 128), i % 128]
      const byte = block.getUint8(64 * part + within % 64)
      const low = within < 64 ? byte % 16 : Math.floor(byte / 16)
      const high = Math.floor(block.getUint8(128 + 32 * part + within % 32) / 4 ** Math.floor(within / 32)) % 4
      return half(block.getUint16(208, true)) * block.getInt8(192 + Math.floor(i / 16)) * (low + 16 * high - 32)
    }
  }
}

/** Blocks of random bytes; `halves` are the offsets of halves, which are finite. */
function randomBlocks (count: number, bytes: number, halves: number[]): Uint8Array {
  let state = 12345
  const out = Uint8Array.from({ length: count * bytes }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state >>> 24
  })
  const view = new DataView(out.buffer)
  const scales = [0, 1, -1, 2 ** -20, -(2 ** -24), 0.0123, 65504, -0.3, 2 ** -14]
  for (let block = 0; block < count; block++) {
    for (const [n, at] of halves.entries()) view.setUint16(block * bytes + at, toHalf(scales[(block * halves.length + n) % scales.length]), true)
  }
  return out
}

const HALVES: Record<string, number[]> = { Q4_0: [0], Q8_0: [0], Q4_K: [0, 2], Q6_K: [208] }

describe('quantize/ggml-blocks', () => {
  for (const [name, { bytes, values, value }] of Object.entries(REFERENCES)) {
    it(`decodes ${name} as its layout says`, () => {
      const blocks = randomBlocks(50, bytes, HALVES[name])
      const decoded = dtypeOf(name)?.decode(blocks) ?? assert.fail(name)
      assert.equal(decoded.length, 50 * values)
      for (let i = 0; i < decoded.length; i++) {
        const block = new DataView(blocks.buffer, Math.floor(i / values) * bytes, bytes)
        const expected = value(block, i % values)
        // ggml rounds each product to float32 and we only the result.
        assert.ok(Math.abs(decoded[i] - expected) <= Math.abs(expected) * 2 ** -23 + 1e-45, `${name} value ${i}: ${decoded[i]} for ${expected}`)
      }
    })
  }

  for (const [name, format] of [['Q4_0', 'q4'], ['Q8_0', 'q8']] as const) {
    it(`carries ${name} over to ${format} without a rounding`, () => {
      const { bytes, values, value } = REFERENCES[name]
      const blocks = randomBlocks(64, bytes, [0])
      const { carry } = dtypeOf(name) ?? assert.fail(name)
      assert.equal(carry?.format, format)
      const encoded = carry?.encode(blocks) ?? assert.fail()
      const decoded = decodeRows(format, encoded, values * 8, 0, 8)
      for (let i = 0; i < decoded.length; i++) {
        assert.equal(decoded[i] + 0, value(new DataView(blocks.buffer, Math.floor(i / values) * bytes, bytes), i % values) + 0, `value ${i}`)
      }
      for (let block = 0; block < 64; block++) assert.deepEqual([...encoded.scales?.subarray(2 * block, 2 * block + 2) ?? []], [...blocks.subarray(block * bytes, block * bytes + 2)])
    })

    it(`refuses ${name} with a scale that is no number`, () => {
      const { bytes } = REFERENCES[name]
      for (const bits of [0x7c00, 0xfc00, 0x7e01, 0xffff]) {
        const blocks = randomBlocks(3, bytes, [0])
        new DataView(blocks.buffer).setUint16(2 * bytes, bits, true)
        assert.throws(() => dtypeOf(name)?.carry?.encode(blocks), modelError('malformed', 'NaN'))
      }
    })
  }
})
