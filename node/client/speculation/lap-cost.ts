/** How much of a measurement is left after the next one: the last thirty or so count. */
const KEEP = 0.97

/** Measurements of one size count for at most this many against the line through all of them. */
const MAX_OWN_WEIGHT = 8

/** A measurement above this many times what was expected is a hiccup (a peer that vanished), and counts as this. */
const HICCUP = 3

interface Size {
  weight: number
  mean: number
  /** Of the measurements about the mean. */
  variance: number
}

/**
 * What a lap with k tokens costs, in milliseconds: for each k the mean of what was measured, drawn to a line through the measurements (least squares,
 * older ones forgotten by and by). With one k alone, larger laps are taken to cost no more: so they are tried. The first draft costs more than each further token (a draft is begun, kernels
 * for one row are left), so laps without one are no points of the line where others are two. Its slope is taken half a standard
 * error better than it was measured: a length that is not known is tried, and known then.
 */
export class LapCost {
  private readonly sizes = new Map<number, Size>()

  observe (tokens: number, ms: number): void {
    const size = this.sizes.get(tokens)
    const counted = size === undefined ? ms : Math.min(ms, HICCUP * size.mean)
    for (const other of this.sizes.values()) other.weight *= KEEP
    if (size === undefined) {
      this.sizes.set(tokens, { weight: 1, mean: counted, variance: 0 })
      return
    }
    size.weight += 1
    const gain = 1 / Math.min(size.weight, MAX_OWN_WEIGHT)
    const off = counted - size.mean
    size.mean += gain * off
    size.variance = (1 - gain) * (size.variance + gain * off ** 2)
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
    const drafted = [...this.sizes].filter(([size]) => size > 1)
    const points = tokens > 1 && drafted.length > 1 ? drafted : [...this.sizes]
    let [n, k, y] = [0, 0, 0]
    for (const [size, { weight, mean }] of points) {
      n += weight
      k += weight * size
      y += weight * mean
    }
    if (n === 0) return Infinity
    const [meanK, meanY] = [k / n, y / n]
    let [kk, ky] = [0, 0]
    for (const [size, { weight, mean }] of points) {
      kk += weight * (size - meanK) ** 2
      ky += weight * (size - meanK) * (mean - meanY)
    }
    if (kk === 0) return meanY
    const slope = ky / kk
    let residual = 0
    for (const [size, { weight, mean, variance }] of points) residual += weight * (variance + (mean - meanY - slope * (size - meanK)) ** 2)
    const error = Math.sqrt(residual / n / kk)
    const hopeful = tokens > meanK ? slope - error / 2 : slope + error / 2
    return Math.max(0, meanY + Math.max(0, hopeful) * (tokens - meanK))
  }
}
