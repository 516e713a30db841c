/** A bucket's level as one number: the time, in milliseconds, at which what was taken so far is paid for. */
export interface Bucket {
  paidAtMs: number
}

export interface TokenBucketsInit {
  /** Of one key. */
  perSecond: number
  /** Of all keys together. */
  totalPerSecond: number
  /** How much may be taken at once after a pause, as seconds at the full rate. */
  burstSeconds: number
}

/** Keys that are remembered; a full bucket needs no memory. */
const MAX_KEYS = 4_096

/** Refuses what comes faster than a rate, by the generic cell rate algorithm. No timers: the clock is an argument, in milliseconds. */
export class TokenBuckets {
  readonly #init: TokenBucketsInit
  readonly #buckets = new Map<string, Bucket>()
  readonly #total: Bucket = { paidAtMs: -Infinity }

  constructor (init: TokenBucketsInit) {
    this.#init = init
  }

  /** The bucket of a key, for a caller that takes from it often. */
  bucket (key: string, nowMs: number): Bucket {
    let bucket = this.#buckets.get(key)
    if (bucket == null) {
      if (this.#buckets.size >= MAX_KEYS) this.#forget(nowMs)
      this.#buckets.set(key, bucket = { paidAtMs: -Infinity })
    }
    return bucket
  }

  /** Whether so many tokens are there; takes them if so. */
  take (bucket: Bucket, tokens: number, nowMs: number): boolean {
    const { perSecond, totalPerSecond, burstSeconds } = this.#init
    const limit = nowMs + burstSeconds * 1_000
    const own = Math.max(nowMs, bucket.paidAtMs) + tokens * 1_000 / perSecond
    const all = Math.max(nowMs, this.#total.paidAtMs) + tokens * 1_000 / totalPerSecond
    if (own > limit || all > limit) return false
    bucket.paidAtMs = own
    this.#total.paidAtMs = all
    return true
  }

  /** A key that has paid is as good as one that was never seen; of those that have not, the oldest go. */
  #forget (nowMs: number): void {
    for (const [key, { paidAtMs }] of this.#buckets) {
      if (paidAtMs <= nowMs) this.#buckets.delete(key)
    }
    for (const key of this.#buckets.keys()) {
      if (this.#buckets.size < MAX_KEYS) break
      this.#buckets.delete(key)
    }
  }
}
