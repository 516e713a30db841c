import type { WireDtype } from '../interface.js'
import { readHalves, writeHalves } from './half.js'

/** Bytes of a value of a row. */
const VALUE_BYTES: Record<WireDtype, number> = { fp32: 4, fp16: 2, int8: 1 }

/** Largest magnitude of int8 on the wire: symmetric, so -128 is not used. */
const INT8_MAX = 127

/** Bytes of `tokens` rows: for int8 first a float32 scale a row, then the values, row by row. */
export function rowBytes (dtype: WireDtype, tokens: number, hiddenSize: number): number {
  return (dtype === 'int8' ? tokens * 4 : 0) + tokens * hiddenSize * VALUE_BYTES[dtype]
}

/**
 * Writes rows of `hidden` [any, hiddenSize] into `bytes` at `at`: those that `rows` names, or the first `tokens`.
 * `bytes` starts at a multiple of 4 in its buffer and `at` is one too.
 */
export function writeRows (dtype: WireDtype, hidden: Float32Array, rows: Uint32Array | undefined, tokens: number, hiddenSize: number, bytes: Uint8Array, at: number): void {
  switch (dtype) {
    case 'fp32': {
      const target = new Float32Array(bytes.buffer, bytes.byteOffset + at, tokens * hiddenSize)
      if (rows == null) {
        target.set(tokens * hiddenSize === hidden.length ? hidden : hidden.subarray(0, tokens * hiddenSize))
      } else {
        for (let t = 0; t < tokens; t++) target.set(hidden.subarray(rows[t] * hiddenSize, (rows[t] + 1) * hiddenSize), t * hiddenSize)
      }
      return
    }
    case 'fp16':
      if (rows == null) {
        writeHalves(hidden, 0, tokens * hiddenSize, bytes, at)
      } else {
        for (let t = 0; t < tokens; t++) writeHalves(hidden, rows[t] * hiddenSize, hiddenSize, bytes, at + t * hiddenSize * 2)
      }
      return
    case 'int8': {
      const scales = new Float32Array(bytes.buffer, bytes.byteOffset + at, tokens)
      const values = new Int8Array(bytes.buffer, bytes.byteOffset + at + tokens * 4, tokens * hiddenSize)
      for (let t = 0; t < tokens; t++) {
        const row = rows == null ? t : rows[t]
        scales[t] = quantiseRow(hidden, row * hiddenSize, hiddenSize, values, t * hiddenSize)
      }
    }
  }
}

/**
 * Reads `tokens` rows from `bytes` at `at` into fresh memory, [tokens, hiddenSize]. The caller has checked that they are there.
 * Undefined when a value is not finite.
 */
export function readRows (dtype: WireDtype, bytes: Uint8Array, at: number, tokens: number, hiddenSize: number): Float32Array | undefined {
  const floats = new Float32Array(tokens * hiddenSize)
  switch (dtype) {
    case 'fp32': {
      new Uint8Array(floats.buffer).set(bytes.subarray(at, at + floats.byteLength))
      return allFinite(floats) ? floats : undefined
    }
    case 'fp16':
      return readHalves(bytes, at, floats) ? floats : undefined
    case 'int8': {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      const values = new Int8Array(bytes.buffer, bytes.byteOffset + at + tokens * 4, floats.length)
      for (let t = 0; t < tokens; t++) {
        const scale = view.getFloat32(at + t * 4, true)
        for (let i = t * hiddenSize, end = i + hiddenSize; i < end; i++) floats[i] = values[i] * scale
      }
      return allFinite(floats) ? floats : undefined
    }
  }
}

/** Whether no value is NaN or infinite. */
export function allFinite (floats: Float32Array): boolean {
  // x - x is 0 for a finite x and NaN otherwise, and a NaN stays in the sum.
  let sum = 0
  for (let i = 0; i < floats.length; i++) sum += floats[i] - floats[i]
  return sum === 0
}

/** scale = max|x| / 127; value = round(x / scale). Returns the scale. */
function quantiseRow (floats: Float32Array, from: number, count: number, values: Int8Array, at: number): number {
  let largest = 0
  for (let i = from; i < from + count; i++) {
    const magnitude = Math.abs(floats[i])
    if (magnitude > largest) largest = magnitude
  }
  const scale = Math.fround(largest / INT8_MAX)
  const inverse = scale === 0 ? 0 : 1 / scale
  for (let i = 0; i < count; i++) {
    const value = Math.round(floats[from + i] * inverse)
    values[at + i] = value > INT8_MAX ? INT8_MAX : value < -INT8_MAX ? -INT8_MAX : value
  }
  return scale
}
