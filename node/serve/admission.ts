import { counted } from '../../model-tools/index.js'
import { ApiError, retryAfter } from './api-error.js'

/** Leave to generate. */
export interface Slot {
  /** Gives it back; more than once does no harm. */
  release: () => void
  /** What was waited for it, in milliseconds. */
  queuedMs: number
}

/** A generation takes about this long, in seconds, for want of a measurement: what a refused client is told to wait before there is one. */
const FIRST_GUESS_S = 5

/** Weight of the newest duration in the mean. */
const SMOOTHING = 0.2

/** How many generations run at a time, and how many wait, in order of arrival. */
export class Admission {
  private running = 0
  private readonly queue: Array<() => void> = []
  private meanSeconds = FIRST_GUESS_S

  constructor (private readonly concurrent: number, private readonly queued: number) {}

  get active (): number { return this.running }
  get waiting (): number { return this.queue.length }

  /**
   * Slots for `count` generations of one request, each as it becomes free. Leaves the queue when `signal` aborts.
   * @throws ApiError 429 at once when there is no room for all of them
   */
  admit (count: number, signal: AbortSignal): Array<Promise<Slot>> {
    const room = this.concurrent - this.running - this.queue.length + this.queued
    if (count > room) {
      const waitSeconds = this.meanSeconds * Math.max(1, this.queue.length) / this.concurrent
      throw new ApiError(429, 'rate_limit_error', `The server computes ${counted(this.running, 'text')}, and ${this.queue.length} more ${this.queue.length === 1 ? 'waits' : 'wait'}: try again later.`, { code: 'server_busy', headers: retryAfter(waitSeconds) })
    }
    return Array.from({ length: count }, () => this.slot(signal))
  }

  private async slot (signal: AbortSignal): Promise<Slot> {
    const cameAt = performance.now()
    if (this.running >= this.concurrent || this.queue.length > 0) {
      await new Promise<void>((resolve, reject) => {
        const enter = (): void => {
          signal.removeEventListener('abort', leave)
          resolve()
        }
        const leave = (): void => {
          this.queue.splice(this.queue.indexOf(enter), 1)
          reject(signal.reason as Error)
        }
        if (signal.aborted) return reject(signal.reason as Error)
        signal.addEventListener('abort', leave, { once: true })
        this.queue.push(enter)
      })
    } else {
      this.running++
    }
    const since = performance.now()
    let given = false
    const release = (): void => {
      if (given) return
      given = true
      this.meanSeconds += SMOOTHING * ((performance.now() - since) / 1000 - this.meanSeconds)
      // The slot goes to the next in the queue without becoming free in between.
      const next = this.queue.shift()
      if (next === undefined) this.running--
      else next()
    }
    return { release, queuedMs: since - cameAt }
  }
}
