/** A layer that could be computed here. */
export interface LocalCandidate {
  layer: number
  /** Memory that its experts take. */
  bytes: number
  /** Milliseconds until the swarm's answer to a token; Infinity where nobody live holds it whole. */
  expectedMs: number
}

/**
 * Which layers to compute here: those that the swarm lacks first, then those that it is slowest for, as many as fit. Each removes its round trip from
 * every lap. Layers of equal time go by their number. Pure.
 */
export function chooseLocalLayers (candidates: readonly LocalCandidate[], budgetBytes: number): number[] {
  const order = [...candidates].sort((a, b) => a.expectedMs === b.expectedMs ? a.layer - b.layer : b.expectedMs - a.expectedMs)
  let left = budgetBytes
  const chosen: number[] = []
  for (const { layer, bytes } of order) {
    if (bytes > left) continue
    left -= bytes
    chosen.push(layer)
  }
  return chosen.sort((a, b) => a - b)
}
