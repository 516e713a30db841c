import { QUANT_BLOCKS } from '../bundle/manifest.js'
import { fromHalf } from '../float.js'
import { notFinite, storedScale, type QuantizedRows } from './block.js'

const BLOCK = QUANT_BLOCKS.q4
const HALF_BLOCK = BLOCK / 2

/**
 * Symmetric 4-bit blocks of 32: value = (nibble - 8) * d, where d = (the value of largest magnitude, with its sign) / -8. This is
 * GGUF's Q4_0 value set, in the order of onnxruntime's MatMulNBits (nibbles of one byte are neighbours, low first).
 *
 * Error per value: at most |d|/2 for x/d <= 7.5. On the side opposite to the largest value the range ends at 7, so up to
 * |d| there. Both hold for |d| >= 2^-14; below that d itself is a subnormal half and adds up to 8 * 2^-25.
 *
 * @param values - [rows, in], `in` a multiple of 32
 * @throws ModelError 'malformed' on NaN, infinity, or a block whose scale exceeds a half
 */
export function quantizeQ4 (values: Float32Array): QuantizedRows {
  const blocks = values.length / BLOCK
  const data = new Uint8Array(blocks * HALF_BLOCK)
  const scales = new Uint16Array(blocks)
  for (let block = 0; block < blocks; block++) {
    const start = block * BLOCK
    let extreme = 0
    let magnitude = 0
    for (let i = start; i < start + BLOCK; i++) {
      const absolute = Math.abs(values[i])
      // Also true for NaN, which no comparison would find otherwise.
      if (!(absolute < Infinity)) throw notFinite()
      if (absolute > magnitude) {
        magnitude = absolute
        extreme = values[i]
      }
    }
    const { bits, value: scale } = storedScale(extreme / -8)
    const inverse = scale === 0 ? 0 : 1 / scale
    scales[block] = bits
    let out = block * HALF_BLOCK
    for (let i = start; i < start + BLOCK; i += 2) {
      data[out++] = nibble(values[i] * inverse) | (nibble(values[i + 1] * inverse) << 4)
    }
  }
  return { data, scales }
}

/** Nearest of -8..7, shifted to 0..15. */
function nibble (scaled: number): number {
  // "| 0" changes no value; it tells the compiler that this is an integer, which makes encoding half as fast again.
  const level = Math.floor(scaled + 8.5) | 0
  return level < 0 ? 0 : level > 15 ? 15 : level
}

/** Decodes blocks [firstBlock, firstBlock + blocks) into `out` from `outOffset` on. */
export function dequantizeQ4 (data: Uint8Array, scales: Uint16Array, firstBlock: number, blocks: number, out: Float32Array, outOffset: number): void {
  let to = outOffset
  for (let block = firstBlock; block < firstBlock + blocks; block++) {
    const scale = fromHalf(scales[block])
    for (let i = block * HALF_BLOCK; i < (block + 1) * HALF_BLOCK; i++) {
      const pair = data[i]
      out[to++] = ((pair & 15) - 8) * scale
      out[to++] = ((pair >> 4) - 8) * scale
    }
  }
}
