import type { WireDtype } from '../interface.js'

/**
 * How far two replies to the same request are apart: of their rows [tokens, hiddenSize], the largest distance over the larger of the two norms. 0 for
 * equal ones, 1 for zeros beside anything, about 1.4 for what is unrelated.
 */
export function deviation (a: Float32Array, b: Float32Array, hiddenSize: number): number {
  let largest = 0
  for (let from = 0; from < a.length; from += hiddenSize) {
    let [distance, ofA, ofB] = [0, 0, 0]
    for (let i = from, end = from + hiddenSize; i < end; i++) {
      const difference = a[i] - b[i]
      distance += difference * difference
      ofA += a[i] * a[i]
      ofB += b[i] * b[i]
    }
    if (distance > 0) largest = Math.max(largest, Math.sqrt(distance / Math.max(ofA, ofB)))
  }
  return largest
}

/** Of two honest replies, by the forms in which they travelled. */
export type Tolerances = Readonly<Record<WireDtype, number>>

/** The coarser of the two forms says how far honest replies may be apart. */
export function toleranceOf (tolerances: Tolerances, a: WireDtype, b: WireDtype): number {
  return Math.max(tolerances[a], tolerances[b])
}
