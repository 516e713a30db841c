import { quantile } from '../chaos/report.js'

export interface Point {
  /** Since the start. */
  minutes: number
  value: number
}

export interface Fit {
  /** Of the line at its first point. */
  first: number
  /** What the line gains over the time of the points. */
  gained: number
  /** Standard error of `gained`. */
  error: number
}

/** Least squares through two points or more. */
export function linearFit (points: readonly Point[]): Fit {
  const n = points.length
  const mean = (of: (point: Point) => number): number => points.reduce((sum, point) => sum + of(point), 0) / n
  const [x, y] = [mean(({ minutes }) => minutes), mean(({ value }) => value)]
  const spread = points.reduce((sum, { minutes }) => sum + (minutes - x) ** 2, 0)
  const slope = points.reduce((sum, { minutes, value }) => sum + (minutes - x) * (value - y), 0) / spread
  const residual = points.reduce((sum, { minutes, value }) => sum + (value - y - slope * (minutes - x)) ** 2, 0)
  const span = points[n - 1].minutes - points[0].minutes
  return { first: y + slope * (points[0].minutes - x), gained: slope * span, error: n > 2 ? Math.sqrt(residual / (n - 2) / spread) * span : 0 }
}

/** One point a window, the median of its values: bursts of other processes and of the collector are no trend. */
export function windows (points: readonly Point[], minutes: number): Point[] {
  const byWindow = new Map<number, number[]>()
  for (const point of points) {
    const window = Math.floor(point.minutes / minutes)
    byWindow.set(window, [...byWindow.get(window) ?? [], point.value])
  }
  return [...byWindow].map(([window, values]) => ({ minutes: (window + 0.5) * minutes, value: quantile(values, 0.5) }))
}

/** What a figure may gain over a run: this share of what it was, or this much. */
export interface Allowed {
  share: number
  amount: number
}

/** With two standard errors: growth beyond what is allowed is ruled out, or there is some, or the figures are too restless to tell. */
export type Verdict = 'flat' | 'grows' | 'unclear'

export function verdict ({ first, gained, error }: Fit, { share, amount }: Allowed): Verdict {
  const allowed = Math.max(share * first, amount)
  if (gained + 2 * error <= allowed) return 'flat'
  return gained > Math.max(allowed, 2 * error) ? 'grows' : 'unclear'
}
