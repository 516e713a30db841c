/** How much of a measurement is left after the next one: the last thirty or so count. */
const KEEP = 0.97

/** Measurements of one size count for at most this many against the line through all of them. */
const MAX_OWN_WEIGHT = 8

/** A measurement above this many times what was expected is a hiccup (a peer that vanished), and counts as this. */
const HICCUP = 3

interface Size {
  weight: number
  mean: number
}

/**
 * What a lap with k tokens costs, in milliseconds: for each k the mean of what was measured, drawn to a line through all measurements (least squares,
 * older ones forgotten by and by). With one k alone, larger laps are taken to cost no more: so they are tried.
 */
export class LapCost {
  private readonly sizes = new Map<number, Size>()

  observe (tokens: number, ms: number): void {
    const size = this.sizes.get(tokens)
    const counted = size === undefined ? ms : Math.min(ms, HICCUP * size.mean)
    for (const other of this.sizes.values()) other.weight *= KEEP
    if (size === undefined) {
      this.sizes.set(tokens, { weight: 1, mean: counted })
      return
    }
    size.weight += 1
    size.mean += (counted - size.mean) / Math.min(size.weight, MAX_OWN_WEIGHT)
  }

  /** Infinity before anything was measured. */
  of (tokens: number): number {
    const line = this.line(tokens)
    const own = this.sizes.get(tokens)
    if (own === undefined) return line
    const weight = Math.min(own.weight, MAX_OWN_WEIGHT)
    return (weight * own.mean + line) / (weight + 1)
  }

  private line (tokens: number): number {
    let [n, k, y] = [0, 0, 0]
    for (const [size, { weight, mean }] of this.sizes) {
      n += weight
      k += weight * size
      y += weight * mean
    }
    if (n === 0) return Infinity
    const [meanK, meanY] = [k / n, y / n]
    let [kk, ky] = [0, 0]
    for (const [size, { weight, mean }] of this.sizes) {
      kk += weight * (size - meanK) ** 2
      ky += weight * (size - meanK) * (mean - meanY)
    }
    const slope = kk === 0 ? 0 : Math.max(0, ky / kk)
    return Math.max(0, meanY + slope * (tokens - meanK))
  }
}
