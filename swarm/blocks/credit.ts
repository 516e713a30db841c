import * as limits from '../constants.js'

interface Sent {
  /** Bytes sent in all, up to here. */
  upTo: number
  atMs: number
  /** Bytes acknowledged in all at that time. */
  acknowledgedBytes: number
}

/** How long something was on its way that was acknowledged at a time. */
interface Delay {
  atMs: number
  delayMs: number
}

/**
 * How many bytes of a stream may be on their way, and in what pieces. Hidden states of the same link wait behind them, so as many as keep a queue of BLOCKS_QUEUE_MS, and what
 * one piece takes to leave is of that order. After LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus): a delay above the least one seen is queue; the credit first grows by half in a
 * round trip, and once a queue was seen moves by a quarter of what lacks for the wanted one; where there are queues, the path is let run empty now and then, since one that never ends
 * would pass for distance. No timers: the clock is an argument, in milliseconds.
 */
export class BulkCredit {
  readonly #sent: Sent[] = []
  readonly #recent: Delay[] = []
  #sentBytes = 0
  #acknowledgedBytes = 0
  #credit: number = limits.BLOCKS_ACK_BYTES * 2
  /** Grows by half in a round trip below this. */
  #slowFrom = Infinity
  /** The least delay of this span and of the one before. */
  #leastMs = Infinity
  #leastBeforeMs = Infinity
  #spanEndsAtMs = -Infinity
  /** Whether a queue was seen in this span. */
  #queued = false
  /** Nothing is sent until all is acknowledged, but for what a fetcher may not have told of yet. */
  #emptying = false
  /** Smoothed, of what was acknowledged while a piece was on its way. */
  #bytesPerMs: number | undefined
  /** Whether the sender had to wait since the last acknowledgement: only then more would help. */
  #wasShort = false
  /** Of the credit. Twice what the fetcher acknowledges at a time, which may be as much as those of before did. */
  #least: number = limits.BLOCKS_ACK_BYTES * 2

  /** Bytes that may be unacknowledged. */
  get bytes (): number { return this.#credit }

  get unacknowledgedBytes (): number { return this.#sentBytes - this.#acknowledgedBytes }

  /** Of the next piece: what leaves within BLOCKS_FRAME_MS. */
  get frameBytes (): number {
    if (this.#bytesPerMs == null) return limits.BLOCKS_MIN_FRAME_BYTES
    const bytes = Math.min(limits.BLOCKS_FRAME_BYTES, this.#bytesPerMs * limits.BLOCKS_FRAME_MS, this.#credit / 2)
    return Math.max(1, Math.floor(bytes / limits.BLOCKS_MIN_FRAME_BYTES)) * limits.BLOCKS_MIN_FRAME_BYTES
  }

  /** Whether so many bytes more may be sent now. */
  allows (bytes: number): boolean {
    if (this.#emptying) return false
    if (this.unacknowledgedBytes === 0 || this.unacknowledgedBytes + bytes <= this.#credit) return true
    this.#wasShort = true
    return false
  }

  sent (bytes: number, nowMs: number): void {
    this.#sentBytes += bytes
    this.#sent.push({ upTo: this.#sentBytes, atMs: nowMs, acknowledgedBytes: this.#acknowledgedBytes })
  }

  /** `bytes` must be unacknowledged ones. */
  acknowledged (bytes: number, nowMs: number): void {
    this.#acknowledgedBytes += bytes
    if (bytes < limits.BLOCKS_ACK_BYTES) this.#least = limits.BLOCKS_MIN_FRAME_BYTES * 2
    let last: Sent | undefined
    while (this.#sent.length > 0 && this.#sent[0].upTo <= this.#acknowledgedBytes) last = this.#sent.shift()
    if (last == null) return
    const delayMs = Math.max(nowMs - last.atMs, 0.01)
    const rate = (this.#acknowledgedBytes - last.acknowledgedBytes) / delayMs
    this.#bytesPerMs = this.#bytesPerMs == null ? rate : this.#bytesPerMs + limits.BLOCKS_RATE_GAIN * (rate - this.#bytesPerMs)
    const queuedMs = this.#queuedMs(delayMs, nowMs)
    if (!this.#emptying) {
      this.#adjust(bytes, queuedMs, this.#bytesPerMs)
    } else if (this.unacknowledgedBytes < this.#least / 2) {
      this.#emptying = false
      this.#recent.length = 0
    }
    if (nowMs >= this.#spanEndsAtMs) this.#nextSpan(nowMs)
  }

  /** @param queuedMs - what was acknowledged had to wait behind others for so long */
  #adjust (bytes: number, queuedMs: number, bytesPerMs: number): void {
    const lackingMs = limits.BLOCKS_QUEUE_MS - queuedMs
    const short = this.#wasShort
    this.#wasShort = false
    if (lackingMs < limits.BLOCKS_QUEUE_MS / 2) this.#queued = true
    if (this.#credit < this.#slowFrom) {
      if (lackingMs > limits.BLOCKS_QUEUE_MS / 2) {
        if (short) this.#credit += bytes / 2
      } else {
        this.#slowFrom = 0
        this.#credit = Math.min(this.#credit, bytesPerMs * (this.#roundTripMs() + limits.BLOCKS_QUEUE_MS))
      }
    } else if (short || lackingMs < 0) {
      // All that is on its way is acknowledged once a round trip, and what is changed shows two of them later.
      const change = bytesPerMs * lackingMs / 4 * Math.min(1, bytes / this.#credit)
      this.#credit += lackingMs > limits.BLOCKS_QUEUE_MS / 2 ? Math.max(change, bytes / 16) : change
    }
    this.#credit = Math.max(this.#least, Math.min(this.#most(), this.#credit))
  }

  #nextSpan (nowMs: number): void {
    const first = this.#spanEndsAtMs === -Infinity
    this.#spanEndsAtMs = nowMs + limits.BLOCKS_LEAST_DELAY_MS
    if (first) return
    this.#leastBeforeMs = this.#leastMs
    this.#leastMs = Infinity
    if (!this.#queued || this.#bytesPerMs == null) return
    this.#queued = false
    this.#emptying = this.unacknowledgedBytes >= this.#least / 2
    // All that may be on its way would at once be a queue where it sets out.
    this.#slowFrom = this.#credit
    this.#credit = Math.max(this.#least, Math.min(this.#credit, this.#bytesPerMs * 2 * limits.BLOCKS_QUEUE_MS))
  }

  /** The least delay of the last round trip, less the least one of all: neither what a stall of one of the machines adds nor what comes in a burst is a queue that stays. */
  #queuedMs (delayMs: number, nowMs: number): number {
    this.#leastMs = Math.min(this.#leastMs, delayMs)
    while (this.#recent.length > 0 && this.#recent[this.#recent.length - 1].delayMs >= delayMs) this.#recent.pop()
    this.#recent.push({ atMs: nowMs, delayMs })
    const roundTripMs = this.#roundTripMs()
    while (this.#recent[0].atMs < nowMs - Math.max(roundTripMs, limits.BLOCKS_DELAY_MS)) this.#recent.shift()
    return this.#recent[0].delayMs - roundTripMs
  }

  #roundTripMs (): number { return Math.min(this.#leastMs, this.#leastBeforeMs) }

  /** A full rate over this round trip, and a quarter more for what is being acknowledged. */
  #most (): number {
    const needed = limits.BLOCKS_PEER_BYTES_PER_SECOND * this.#roundTripMs() / 1_000 * 1.25
    return Math.max(limits.BLOCKS_CREDIT_BYTES, Math.min(limits.BLOCKS_MAX_CREDIT_BYTES, needed))
  }
}
