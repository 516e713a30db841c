import { ModelError } from '../errors.js'
import { fromHalf, toHalf } from '../float.js'

/** Matrix rows in a block format: `data` and `scales` as TensorEntry documents them. */
export interface QuantizedRows {
  data: Uint8Array
  /** f16 bits, one per block of values along a row. */
  scales: Uint16Array
}

/**
 * A block's scale as it is stored (half bits) and as it is used. The used one is the rounded one, so what the quantiser minimises
 * is what the decoder computes. Throws where no half can hold it: such weights (above 500,000) mean a broken checkpoint.
 */
export function storedScale (scale: number): { bits: number, value: number } {
  const bits = toHalf(scale)
  const value = fromHalf(bits)
  if (!Number.isFinite(value)) throw notFinite()
  return { bits, value }
}

/** The writer adds the tensor's name: a quantiser does not know it. */
export function notFinite (): ModelError {
  return new ModelError('malformed', 'The weights contain NaN, infinity or values too large for a 16-bit scale; the checkpoint is damaged, download it again.')
}
