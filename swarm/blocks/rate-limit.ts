import * as limits from '../constants.js'

export interface RateLimitInit {
  /** To one peer. */
  peerBytesPerSecond: number
  /** To all peers together. */
  totalBytesPerSecond: number
}

/**
 * Bytes per second to each peer and in total, by the generic cell rate algorithm: one number a key, the time at which what was granted so
 * far is paid for. It may lie BLOCKS_BURST_MS ahead. No timers: the clock is an argument, in milliseconds.
 */
export class RateLimit {
  readonly #init: RateLimitInit
  readonly #paidAtMs = new Map<string, number>()
  #totalPaidAtMs = -Infinity

  constructor (init: RateLimitInit) {
    this.#init = init
  }

  /** Grants these bytes to a peer; they may be sent after the returned milliseconds. Grants are in the order of the calls. */
  grant (peerId: string, bytes: number, nowMs: number): number {
    const peerPaidAtMs = Math.max(nowMs, this.#paidAtMs.get(peerId) ?? nowMs)
    const totalPaidAtMs = Math.max(nowMs, this.#totalPaidAtMs)
    if (this.#paidAtMs.size >= limits.BLOCKS_MAX_RATED_PEERS) this.#forget(nowMs)
    this.#paidAtMs.set(peerId, peerPaidAtMs + bytes * 1_000 / this.#init.peerBytesPerSecond)
    this.#totalPaidAtMs = totalPaidAtMs + bytes * 1_000 / this.#init.totalBytesPerSecond
    return Math.max(0, Math.max(peerPaidAtMs, totalPaidAtMs) - nowMs - limits.BLOCKS_BURST_MS)
  }

  /** A peer that has paid is as good as one that was never seen. */
  #forget (nowMs: number): void {
    for (const [peerId, paidAtMs] of this.#paidAtMs) {
      if (paidAtMs <= nowMs) this.#paidAtMs.delete(peerId)
    }
  }
}
