import * as limits from '../constants.js'

/** One reply, as the client saw it. Milliseconds. */
export interface ServedSample {
  networkMs: number
  queueMs: number
  serviceMs: number
  /** Tokens times their experts on that peer. */
  assignments: number
}

/**
 * What a client knows of a peer's speed, from probes and served requests: smoothed round trip and deviation as in RFC 6298,
 * queue and service time apart from it. Measured, not claimed. No timers: the clock is an argument, in milliseconds.
 */
export class LatencyEstimate {
  #roundTripMs = NaN
  #deviationMs = 0
  #queueMs = 0
  /** By size class, floor(log2(assignments)): a batch costs less per assignment than a single token. */
  readonly #serviceMs: number[] = []
  #penaltyMs = 0
  #penaltyAt = 0

  constructor (readonly now: () => number) {}

  /** Smoothed round trip without queue and service; NaN before the first sample. */
  get roundTripMs (): number {
    return this.#roundTripMs
  }

  get deviationMs (): number {
    return this.#deviationMs
  }

  /** A ping's round trip, or the network's part of a served request's. */
  addRoundTrip (sampleMs: number): void {
    if (Number.isNaN(this.#roundTripMs)) {
      this.#roundTripMs = sampleMs
      this.#deviationMs = sampleMs / 2
      return
    }
    this.#deviationMs += (Math.abs(sampleMs - this.#roundTripMs) - this.#deviationMs) * limits.RTT_DEVIATION_GAIN
    this.#roundTripMs += (sampleMs - this.#roundTripMs) * limits.SRTT_GAIN
  }

  addServed (sample: ServedSample): void {
    this.addRoundTrip(sample.networkMs)
    this.#queueMs += (sample.queueMs - this.#queueMs) * limits.SRTT_GAIN
    const size = sizeClass(sample.assignments)
    const before = this.#serviceMs[size]
    this.#serviceMs[size] = before === undefined ? sample.serviceMs : before + (sample.serviceMs - before) * limits.SRTT_GAIN
    this.#penaltyMs = this.#penaltyNow() / 2
    this.#penaltyAt = this.now()
  }

  /** A timeout, a broken stream or a wrong answer: the peer is expected to be slower for a while, the more the more often. */
  addFailure (): void {
    this.#penaltyMs = Math.min(limits.FAILURE_PENALTY_MAX_MS, this.#penaltyNow() * 2 + limits.FAILURE_PENALTY_MS)
    this.#penaltyAt = this.now()
  }

  /** Milliseconds from sending a request of this size to its reply, behind `ahead` requests of ours that are with the peer already. */
  expectedMs (assignments: number, ahead = 0): number {
    const roundTrip = Number.isNaN(this.#roundTripMs) ? limits.UNKNOWN_RTT_MS : this.#roundTripMs
    return roundTrip + this.#queueMs + (1 + ahead) * this.#expectedServiceMs(assignments) + this.#penaltyNow()
  }

  /** After how many milliseconds a request of this size is late. */
  deadlineMs (assignments: number, ahead = 0): number {
    if (this.#serviceMs.length === 0) return limits.DEADLINE_UNKNOWN_MS
    const usual = this.expectedMs(assignments, ahead) + limits.RTT_DEVIATION_WEIGHT * this.#deviationMs
    return Math.min(limits.DEADLINE_MAX_MS, Math.max(limits.DEADLINE_MIN_MS, usual * limits.DEADLINE_FACTOR))
  }

  #expectedServiceMs (assignments: number): number {
    const size = sizeClass(assignments)
    if (this.#serviceMs[size] !== undefined) return this.#serviceMs[size]
    // The nearest size that was seen, scaled: too much for larger batches, which errs on the side of patience.
    for (let distance = 1; distance < 32; distance++) {
      const below = this.#serviceMs[size - distance]
      if (below !== undefined) return below * 2 ** distance
      const above = this.#serviceMs[size + distance]
      if (above !== undefined) return above
    }
    return limits.UNKNOWN_SERVICE_MS * assignments
  }

  #penaltyNow (): number {
    return this.#penaltyMs === 0 ? 0 : this.#penaltyMs * 2 ** ((this.#penaltyAt - this.now()) / limits.FAILURE_HALF_LIFE_MS)
  }
}

function sizeClass (assignments: number): number {
  return 31 - Math.clz32(Math.max(1, assignments))
}
