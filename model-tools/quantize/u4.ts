import { QUANT_BLOCKS } from '../bundle/manifest.js'
import { fromHalf } from '../float.js'
import { storedScale, type QuantizedRows } from './block.js'

const BLOCK = QUANT_BLOCKS.u4
const HALF_BLOCK = BLOCK / 2

/**
 * Both ends of a block's range are drawn in by this much: the steps between all others become finer. Of Gaussian and of heavier-tailed weights it
 * gives blocks of 64 the error of q4's blocks of 32; 1 has 2 % more, a search for the best of three 1 % less.
 */
const RANGE = 0.95

/** Matrix rows as TensorEntry documents u4. */
export interface AsymmetricRows extends QuantizedRows {
  zeros: Uint8Array
}

/**
 * Asymmetric 4-bit blocks of 64: value = (nibble - zero) * d. Levels and zero point come from the block's range, in which 0 always is; d is then
 * the one that leaves the least squared error with these levels.
 *
 * @param values - [rows, columns]
 * @param columns - a multiple of 64
 * @throws ModelError 'malformed' on NaN, infinity, or a block whose scale exceeds a half
 */
export function quantizeU4 (values: Float32Array, columns: number): AsymmetricRows {
  const blocks = values.length / BLOCK
  const rowBlocks = columns / BLOCK
  const zeroRow = (rowBlocks + 1) >> 1
  const data = new Uint8Array(blocks * HALF_BLOCK)
  const scales = new Uint16Array(blocks)
  const zeros = new Uint8Array(blocks / rowBlocks * zeroRow)
  let out = 0
  for (let block = 0, inRow = 0, zeroAt = 0; block < blocks; block++) {
    const start = block * BLOCK
    let low = 0
    let high = 0
    for (let i = start; i < start + BLOCK; i++) {
      const x = values[i]
      if (x < low) low = x
      else if (x > high) high = x
    }
    const step = (high - low) * (RANGE / 15)
    const inverse = step === 0 ? 0 : 1 / step
    const zero = Math.floor(-RANGE * low * inverse + 0.5) | 0
    // Below 0 "| 0" rounds up where it should round down; both end at level 0.
    const shift = zero + 0.5
    let products = 0
    let moreProducts = 0
    let squares = 0
    for (let i = start; i < start + BLOCK; i += 2) {
      const x = values[i]
      const y = values[i + 1]
      let first = (x * inverse + shift) | 0
      let second = (y * inverse + shift) | 0
      first = first < 0 ? 0 : first > 15 ? 15 : first
      second = second < 0 ? 0 : second > 15 ? 15 : second
      data[out++] = first | (second << 4)
      first = (first - zero) | 0
      second = (second - zero) | 0
      // Two sums, so that one addition need not wait for the other.
      products += x * first
      moreProducts += y * second
      squares = (squares + first * first + second * second) | 0
    }
    // A NaN or an infinity among the values is one of these sums too, and no scale.
    scales[block] = storedScale(squares === 0 ? products + moreProducts : (products + moreProducts) / squares).bits
    zeros[zeroAt + (inRow >> 1)] |= zero << ((inRow & 1) * 4)
    if (++inRow === rowBlocks) {
      inRow = 0
      zeroAt += zeroRow
    }
  }
  return { data, scales, zeros }
}

/** Decodes rows [firstRow, firstRow + rows) of a matrix [.., columns] into `out` from `outOffset` on. */
export function dequantizeU4 ({ data, scales, zeros }: AsymmetricRows, columns: number, firstRow: number, rows: number, out: Float32Array, outOffset: number): void {
  const rowBlocks = columns / BLOCK
  const zeroRow = (rowBlocks + 1) >> 1
  let to = outOffset
  for (let row = firstRow; row < firstRow + rows; row++) {
    for (let inRow = 0; inRow < rowBlocks; inRow++) {
      const block = row * rowBlocks + inRow
      const scale = fromHalf(scales[block])
      const zero = (zeros[row * zeroRow + (inRow >> 1)] >> ((inRow & 1) * 4)) & 15
      for (let i = block * HALF_BLOCK; i < (block + 1) * HALF_BLOCK; i++) {
        const pair = data[i]
        out[to++] = ((pair & 15) - zero) * scale
        out[to++] = ((pair >> 4) - zero) * scale
      }
    }
  }
}
