/** A time that runs only while nothing is under way, and starts anew with every progress: activity that leads to nothing does not prolong it. */
export class Patience {
  readonly #ms: number
  readonly #onEnd: () => void
  #leftMs: number
  #runningSince = 0
  #timer: NodeJS.Timeout | undefined

  constructor (ms: number, onEnd: () => void) {
    this.#ms = ms
    this.#onEnd = onEnd
    this.#leftMs = ms
  }

  /** Says how much is under way now. */
  underWay (count: number): void {
    if ((count === 0) === (this.#timer != null)) return
    if (count === 0) {
      this.#runningSince = performance.now()
      this.#timer = setTimeout(this.#onEnd, this.#leftMs)
    } else {
      this.stop()
      this.#leftMs = Math.max(0, this.#leftMs - (performance.now() - this.#runningSince))
    }
  }

  progress (): void {
    this.#leftMs = this.#ms
  }

  stop (): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
