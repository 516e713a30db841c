/** Figures of noisy machines: median with the quartiles as spread. */
export interface Spread {
  median: number
  low: number
  high: number
}

/** Median and quartiles. `values` must not be empty. */
export function spread (values: number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]
  return { median: at(0.5), low: at(0.25), high: at(0.75) }
}

/** '123 (110-150)' */
export function shownSpread ({ median, low, high }: Spread, digits = 0): string {
  return `${median.toFixed(digits)} (${low.toFixed(digits)}-${high.toFixed(digits)})`
}
