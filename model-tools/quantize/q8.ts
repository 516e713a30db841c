import { QUANT_BLOCKS } from '../bundle/manifest.js'
import { fromHalf } from '../float.js'
import { notFinite, storedScale, type QuantizedRows } from './block.js'

const BLOCK = QUANT_BLOCKS.q8

/**
 * Symmetric 8-bit blocks of 32: value = (byte - 128) * d with d = largest magnitude / 127. This is GGUF's Q8_0 value set with the
 * signed byte moved by 128, as onnxruntime's MatMulNBits wants it.
 *
 * Error per value: at most d/2 for d >= 2^-14; below that d itself is a subnormal half and adds up to 127 * 2^-25.
 *
 * @param values - [rows, in], `in` a multiple of 32
 * @throws ModelError 'malformed' on NaN, infinity, or a block whose scale exceeds a half
 */
export function quantizeQ8 (values: Float32Array): QuantizedRows {
  const blocks = values.length / BLOCK
  const data = new Uint8Array(values.length)
  const scales = new Uint16Array(blocks)
  for (let block = 0; block < blocks; block++) {
    const start = block * BLOCK
    let magnitude = 0
    for (let i = start; i < start + BLOCK; i++) {
      const absolute = Math.abs(values[i])
      // Also true for NaN, which no comparison would find otherwise.
      if (!(absolute < Infinity)) throw notFinite()
      if (absolute > magnitude) magnitude = absolute
    }
    const { bits, value: scale } = storedScale(magnitude / 127)
    const inverse = scale === 0 ? 0 : 1 / scale
    scales[block] = bits
    for (let i = start; i < start + BLOCK; i++) {
      // As in q4.ts, "| 0" is for speed alone.
      const level = Math.floor(values[i] * inverse + 0.5) | 0
      data[i] = 128 + (level < -128 ? -128 : level > 127 ? 127 : level)
    }
  }
  return { data, scales }
}

/** Decodes blocks [firstBlock, firstBlock + blocks) into `out` from `outOffset` on. */
export function dequantizeQ8 (data: Uint8Array, scales: Uint16Array, firstBlock: number, blocks: number, out: Float32Array, outOffset: number): void {
  let to = outOffset
  for (let block = firstBlock; block < firstBlock + blocks; block++) {
    const scale = fromHalf(scales[block])
    for (let i = block * BLOCK; i < (block + 1) * BLOCK; i++) out[to++] = (data[i] - 128) * scale
  }
}
