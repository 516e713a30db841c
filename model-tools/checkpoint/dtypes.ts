import type { WeightFormat } from '../bundle/manifest.js'
import { bf16ToF32, f16ToF32, floats32, words16 } from '../float.js'
import { carryQ40, carryQ80, decodeQ40, decodeQ4K, decodeQ6K, decodeQ80 } from '../quantize/ggml-blocks.js'
import type { EncodedRows } from '../quantize/rows.js'

/** How values of one dtype lie in a checkpoint: blocks of `blockValues` neighbours along a row, each in `blockBytes`. */
export interface StoredDtype {
  blockValues: number
  blockBytes: number
  /** @param bytes - whole blocks */
  decode: (bytes: Uint8Array) => Float32Array
  /**
   * The format of bundles that has the same set of values, and the way into it without a rounding.
   * `encode` throws ModelError 'malformed' on a scale that is no number.
   */
  carry?: { format: WeightFormat, encode: (bytes: Uint8Array) => EncodedRows }
}

/** Every dtype that can be read as values, by the name that safetensors and ggml both give it. */
const DTYPES = new Map<string, StoredDtype>([
  ['F32', { blockValues: 1, blockBytes: 4, decode: floats32 }],
  ['F16', { blockValues: 1, blockBytes: 2, decode: bytes => f16ToF32(words16(bytes)) }],
  ['BF16', { blockValues: 1, blockBytes: 2, decode: bytes => bf16ToF32(words16(bytes)) }],
  ['Q4_0', { blockValues: 32, blockBytes: 18, decode: decodeQ40, carry: { format: 'q4', encode: carryQ40 } }],
  ['Q8_0', { blockValues: 32, blockBytes: 34, decode: decodeQ80, carry: { format: 'q8', encode: carryQ80 } }],
  ['Q4_K', { blockValues: 256, blockBytes: 144, decode: decodeQ4K }],
  ['Q6_K', { blockValues: 256, blockBytes: 210, decode: decodeQ6K }]
])

/** Undefined for a dtype that cannot be read as values. */
export function dtypeOf (name: string): StoredDtype | undefined {
  return DTYPES.get(name)
}
