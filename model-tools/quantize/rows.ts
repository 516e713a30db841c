import { QUANT_BLOCKS, type QuantFormat, type WeightFormat } from '../bundle/manifest.js'
import { bytesOf, f16ToF32, f32ToF16, floats32, words16 } from '../float.js'
import { notFinite } from './block.js'
import { dequantizeQ4, quantizeQ4 } from './q4.js'
import { dequantizeQ8, quantizeQ8 } from './q8.js'
import { dequantizeU4, quantizeU4 } from './u4.js'

/** Every format, best first; the last two are equals. */
export const WEIGHT_FORMATS: readonly WeightFormat[] = ['f32', 'f16', 'q8', 'q4', 'u4']

/** A matrix [rows, in] as it lies in a bundle file. */
export interface EncodedRows {
  data: Uint8Array
  /** Only of quantised formats. */
  scales?: Uint8Array
  /** Only of u4. */
  zeros?: Uint8Array
}

/** Bytes of the data part of a tensor with this many values. */
export function dataBytes (format: WeightFormat, values: number): number {
  switch (format) {
    case 'f32': return values * 4
    case 'f16': return values * 2
    case 'q8': return values
    case 'q4':
    case 'u4': return values / 2
    default: return format satisfies never
  }
}

/** Bytes of the scales of a tensor with this many values; 0 for formats without. */
export function scaleBytes (format: WeightFormat, values: number): number {
  return isQuantized(format) ? values / QUANT_BLOCKS[format] * 2 : 0
}

/** Bytes of the zero points of a tensor [out, in]; 0 for formats without. */
export function zeroBytes (format: WeightFormat, [rows, columns]: number[]): number {
  return format === 'u4' ? rows * Math.ceil(columns / QUANT_BLOCKS.u4 / 2) : 0
}

export function isQuantized (format: WeightFormat): format is QuantFormat {
  return Object.hasOwn(QUANT_BLOCKS, format)
}

/**
 * Encodes whole rows. Rows are independent in every format, so a matrix may be encoded in slices of rows and joined.
 *
 * @param values - [rows, columns]
 * @param columns - a multiple of the format's block
 * @throws ModelError 'malformed' on NaN, infinity or values that the format cannot hold
 */
export function encodeRows (format: WeightFormat, values: Float32Array, columns: number): EncodedRows {
  switch (format) {
    case 'f32':
      requireFinite(values)
      return { data: bytesOf(values) }
    case 'f16': {
      requireFinite(values)
      const halves = f32ToF16(values)
      for (const half of halves) {
        if ((half & 0x7c00) === 0x7c00) throw notFinite()
      }
      return { data: bytesOf(halves) }
    }
    case 'q8': return encoded(quantizeQ8(values))
    case 'q4': return encoded(quantizeQ4(values))
    case 'u4': {
      const { zeros, ...rows } = quantizeU4(values, columns)
      return { ...encoded(rows), zeros }
    }
    default: return format satisfies never
  }
}

/**
 * Decodes rows [firstRow, firstRow + rows) of a matrix [.., columns] into `out` from `outOffset` on. The way to look up embeddings.
 */
export function decodeRows (format: WeightFormat, { data, scales, zeros }: EncodedRows, columns: number, firstRow: number, rows: number,
  out = new Float32Array(rows * columns), outOffset = 0): Float32Array {
  const first = firstRow * columns
  const count = rows * columns
  const target = out.subarray(outOffset, outOffset + count)
  switch (format) {
    case 'f32':
      target.set(floats32(data.subarray(first * 4, (first + count) * 4)))
      break
    case 'f16':
      f16ToF32(words16(data.subarray(first * 2, (first + count) * 2)), target)
      break
    case 'q8':
    case 'q4': {
      const firstBlock = first / QUANT_BLOCKS[format]
      const blocks = count / QUANT_BLOCKS[format]
      const decode = format === 'q8' ? dequantizeQ8 : dequantizeQ4
      decode(data, scaleWords(scales), firstBlock, blocks, out, outOffset)
      break
    }
    case 'u4':
      if (zeros == null) throw new TypeError('A u4 tensor has zero points')
      dequantizeU4({ data, scales: scaleWords(scales), zeros }, columns, firstRow, rows, out, outOffset)
      break
    default: return format satisfies never
  }
  return out
}

/** Decodes one row: see decodeRows. */
export function decodeRow (format: WeightFormat, encodedRows: EncodedRows, columns: number, row: number,
  out = new Float32Array(columns), outOffset = 0): Float32Array {
  return decodeRows(format, encodedRows, columns, row, 1, out, outOffset)
}

function encoded ({ data, scales }: { data: Uint8Array, scales: Uint16Array }): EncodedRows {
  return { data, scales: bytesOf(scales) }
}

function scaleWords (scales: Uint8Array | undefined): Uint16Array {
  if (scales == null) throw new TypeError('A quantised tensor has scales')
  return words16(scales)
}

function requireFinite (values: Float32Array): void {
  for (let i = 0; i < values.length; i++) {
    if (!(Math.abs(values[i]) < Infinity)) throw notFinite()
  }
}
