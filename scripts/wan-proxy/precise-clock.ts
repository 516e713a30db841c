/** From here on the clock looks again and again; a timer of Node may come more than a millisecond late. Milliseconds. */
const NAP_WITHIN_MS = 1.8
/** Longest sleep between two looks: what arrives meanwhile is noticed so much later. */
const LONGEST_NAP_MS = 0.1
/** How much later than asked for the system wakes a thread that sleeps. */
const WAKE_LATENESS_MS = 0.07

/**
 * Calls back at times of performance.now(), a tenth of a millisecond late at most on an idle machine, where setTimeout is one to two milliseconds late.
 * For the last part of a wait the thread sleeps in naps of LONGEST_NAP_MS, between which the event loop looks at its sockets: a few percent of a core
 * instead of the whole one that spinning takes.
 */
export class PreciseClock {
  readonly #due = new Map<() => void, number>()
  readonly #bed = new Int32Array(new SharedArrayBuffer(4))
  #timer: NodeJS.Timeout | undefined
  #timerAt = Infinity
  #looking = false

  /** Calls `wake` at `atMs`, instead of any other time that it was to be called at. */
  wakeAt (atMs: number, wake: () => void): void {
    this.#due.set(wake, atMs)
    this.#arm()
  }

  cancel (wake: () => void): void {
    this.#due.delete(wake)
    if (this.#due.size > 0) return
    clearTimeout(this.#timer)
    this.#timerAt = Infinity
  }

  #next (): number {
    let next = Infinity
    for (const at of this.#due.values()) {
      if (at < next) next = at
    }
    return next
  }

  #arm (): void {
    const next = this.#next()
    if (next === Infinity || this.#looking) return
    const left = next - performance.now()
    if (left <= NAP_WITHIN_MS) {
      clearTimeout(this.#timer)
      this.#timerAt = Infinity
      this.#looking = true
      setImmediate(this.#look)
    } else if (next < this.#timerAt) {
      clearTimeout(this.#timer)
      this.#timerAt = next
      this.#timer = setTimeout(this.#onTimer, Math.floor(left - NAP_WITHIN_MS) + 0.5)
    }
  }

  readonly #onTimer = (): void => {
    this.#timerAt = Infinity
    this.#arm()
  }

  readonly #look = (): void => {
    this.#looking = false
    const now = performance.now()
    for (const [wake, at] of this.#due) {
      if (at > now) continue
      this.#due.delete(wake)
      wake()
    }
    const left = this.#next() - performance.now()
    if (left > WAKE_LATENESS_MS && left <= NAP_WITHIN_MS) Atomics.wait(this.#bed, 0, 0, Math.min(LONGEST_NAP_MS, left - WAKE_LATENESS_MS))
    this.#arm()
  }
}
