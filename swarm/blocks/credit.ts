import * as limits from '../constants.js'

interface Sent {
  /** Bytes sent in all, up to here. */
  upTo: number
  atMs: number
}

/**
 * How many bytes of a stream may be on their way: what the round trip needs at the rate that a peer may have, for as long as acknowledgements show that
 * no queue builds up; less when one does, since hidden states wait in the same queue. After LEDBAT (RFC 6817): a delay above the least one seen is
 * queue. No timers: the clock is an argument, in milliseconds.
 */
export class BulkCredit {
  readonly #sent: Sent[] = []
  readonly #recentMs: number[] = []
  #sentBytes = 0
  #acknowledgedBytes = 0
  #credit: number = limits.BLOCKS_CREDIT_BYTES
  /** The least delay of this span and of the one before. */
  #leastMs = Infinity
  #leastBeforeMs = Infinity
  #spanEndsAtMs = -Infinity
  /** Whether the sender had to wait since the last acknowledgement: only then more would help. */
  #wasShort = false

  /** Bytes that may be unacknowledged. */
  get bytes (): number { return this.#credit }

  get unacknowledgedBytes (): number { return this.#sentBytes - this.#acknowledgedBytes }

  /** Whether so many bytes more may be sent now. */
  allows (bytes: number): boolean {
    if (this.unacknowledgedBytes + bytes <= this.#credit) return true
    this.#wasShort = true
    return false
  }

  sent (bytes: number, nowMs: number): void {
    this.#sentBytes += bytes
    this.#sent.push({ upTo: this.#sentBytes, atMs: nowMs })
  }

  /** `bytes` must be unacknowledged ones. */
  acknowledged (bytes: number, nowMs: number): void {
    this.#acknowledgedBytes += bytes
    let last: Sent | undefined
    while (this.#sent.length > 0 && this.#sent[0].upTo <= this.#acknowledgedBytes) last = this.#sent.shift()
    if (last == null) return
    const queuedMs = this.#queuedMs(nowMs - last.atMs, nowMs)
    const offTarget = Math.max(-1, (limits.BLOCKS_QUEUE_MS - queuedMs) / limits.BLOCKS_QUEUE_MS)
    if (offTarget < 0 || this.#wasShort) this.#credit += bytes * offTarget * (offTarget < 0 ? 0.5 : 1)
    this.#wasShort = false
    this.#credit = Math.max(limits.BLOCKS_MIN_CREDIT_BYTES, Math.min(this.#most(), this.#credit))
  }

  /** The least of the last few delays, less the least one of all: what a stall of one of the machines adds is no queue. */
  #queuedMs (delayMs: number, nowMs: number): number {
    if (nowMs >= this.#spanEndsAtMs) {
      this.#leastBeforeMs = this.#leastMs
      this.#leastMs = Infinity
      this.#spanEndsAtMs = nowMs + limits.BLOCKS_LEAST_DELAY_MS
    }
    this.#leastMs = Math.min(this.#leastMs, delayMs)
    this.#recentMs.push(delayMs)
    if (this.#recentMs.length > limits.BLOCKS_DELAY_SAMPLES) this.#recentMs.shift()
    return Math.min(...this.#recentMs) - this.#roundTripMs()
  }

  #roundTripMs (): number { return Math.min(this.#leastMs, this.#leastBeforeMs) }

  /** A full rate over this round trip, and a quarter more for what is being acknowledged. */
  #most (): number {
    const needed = limits.BLOCKS_PEER_BYTES_PER_SECOND * this.#roundTripMs() / 1_000 * 1.25
    return Math.max(limits.BLOCKS_CREDIT_BYTES, Math.min(limits.BLOCKS_MAX_CREDIT_BYTES, needed))
  }
}
