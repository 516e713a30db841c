/** What extra requests may cost: a share of the requests sent, saved up to a burst. A token bucket that fills with work instead of time. */
export class HedgeBudget {
  readonly #share: number
  readonly #burst: number
  #tokens: number

  /** `share` in [0, 1]; 0 allows none at all. */
  constructor (share: number, burst: number) {
    this.#share = share
    this.#burst = share === 0 ? 0 : burst
    this.#tokens = this.#burst
  }

  /** A request was sent that somebody waits for. */
  earn (): void {
    this.#tokens = Math.min(this.#burst, this.#tokens + this.#share)
  }

  /** Whether an extra request may be sent; it counts as sent then. `reserve` is left for others. */
  spend (reserve = 0): boolean {
    if (this.#tokens < 1 + reserve) return false
    this.#tokens--
    return true
  }
}
