import * as limits from '../constants.js'

/** One reply, as the client saw it. Milliseconds. */
export interface ServedSample {
  /** From sending to the reply, less queue and service. */
  networkMs: number
  queueMs: number
  serviceMs: number
  /** Tokens times their experts on that peer. */
  assignments: number
  /** Of request and reply together. @default 0 */
  bytes?: number
}

/** A request as far as its time depends on it. */
export interface RequestSize {
  assignments: number
  /** Requests of ours that are with the peer already. @default 0 */
  ahead?: number
  /** Of request and reply together. @default 0 */
  bytes?: number
}

/**
 * What a client knows of a peer's speed, from probes and served requests: smoothed round trip and deviation as in RFC 6298, the time that bytes
 * take, queue and service time apart from both. Measured, not claimed. No timers: the clock is an argument, in milliseconds.
 */
export class LatencyEstimate {
  #roundTripMs = NaN
  #deviationMs = 0
  #queueMs = 0
  #msPerByte = 0
  #transfers = 0
  /** By size class, floor(log2(assignments)): a batch costs less per assignment than a single token. */
  readonly #serviceMs: number[] = []
  /** Smoothed distance of a reply's whole time from what was expected, as a share of it. */
  #lateness: number = limits.UNKNOWN_LATENESS
  #penaltyMs = 0
  #penaltyAt = 0
  #servedAt: number
  #askedAt: number

  constructor (readonly now: () => number) {
    this.#servedAt = this.#askedAt = now()
  }

  /** Smoothed round trip without queue and service; NaN before the first sample. */
  get roundTripMs (): number { return this.#roundTripMs }

  get deviationMs (): number { return this.#deviationMs }

  get queueMs (): number { return this.#queueMs }

  /** Whether it has served anything: until then its compute is a guess. */
  get measured (): boolean { return this.#serviceMs.length > 0 }

  /** Since it was last heard of: by a reply, by a probe, or at all. */
  get ageMs (): number { return this.now() - Math.max(this.#servedAt, this.#askedAt) }

  /** Of large frames, both ways together; Infinity while none took longer than a small one. */
  get mbitPerSecond (): number { return this.#msPerByte === 0 ? Infinity : 8 / (this.#msPerByte * 1_000) }

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

  addServed ({ networkMs, queueMs, serviceMs, assignments, bytes = 0 }: ServedSample): void {
    if (this.measured) this.#addLateness(networkMs + queueMs + serviceMs, this.#usualMs({ assignments, bytes }))
    this.#addNetwork(networkMs, bytes)
    // What is known of a peer that has not been asked for long is worth less than what it does now.
    const gain = Math.max(limits.SRTT_GAIN, 1 - 2 ** ((this.#servedAt - this.now()) / limits.ESTIMATE_HALF_LIFE_MS))
    this.#queueMs += (queueMs - this.#queueMs) * gain
    const size = sizeClass(assignments)
    const before = this.#serviceMs[size]
    this.#serviceMs[size] = before === undefined ? serviceMs : before + (serviceMs - before) * gain
    this.#penaltyMs = this.#penaltyNow() / 2
    this.#penaltyAt = this.#servedAt = this.now()
  }

  /** No answer came in this time, and nobody waits for it any more: what is missing to it counts as time in the peer's queue. */
  addLate (elapsedMs: number, size: RequestSize): void {
    const excessMs = elapsedMs - (this.#usualMs(size) - this.#queueMs)
    if (excessMs > this.#queueMs) this.#queueMs += (excessMs - this.#queueMs) * limits.LATE_GAIN
    this.#servedAt = this.now()
  }

  /** It was asked only to learn about it: that is not to be done again soon, whatever comes of it. */
  asked (): void {
    this.#askedAt = this.now()
  }

  /** A timeout, a broken stream or a wrong answer: the peer is expected to be slower for a while, the more the more often. */
  addFailure (): void {
    this.#penaltyMs = Math.min(limits.FAILURE_PENALTY_MAX_MS, this.#penaltyNow() * 2 + limits.FAILURE_PENALTY_MS)
    this.#penaltyAt = this.now()
  }

  /** Milliseconds from sending a request of this size to its reply. */
  expectedMs (size: RequestSize): number {
    return this.#usualMs(size) + this.#penaltyNow()
  }

  /** How long so many bytes take beside the round trip. */
  transferMs (bytes: number): number {
    return bytes * this.#msPerByte
  }

  /** After how many milliseconds a replica should be asked too; Infinity while too little is known of this peer. */
  tailMs (size: RequestSize): number {
    if (!this.measured) return Infinity
    const usualMs = this.#usualMs(size)
    return usualMs + Math.max(limits.HEDGE_MIN_LATE_MS, usualMs * Math.max(limits.HEDGE_MIN_LATENESS, limits.HEDGE_DEVIATIONS * this.#lateness))
  }

  /** After how many milliseconds a request of this size is given up. */
  deadlineMs (size: RequestSize): number {
    if (!this.measured) return limits.DEADLINE_UNKNOWN_MS
    const usual = this.expectedMs(size) + limits.RTT_DEVIATION_WEIGHT * this.#deviationMs
    return Math.min(limits.DEADLINE_MAX_MS, Math.max(limits.DEADLINE_MIN_MS, usual * limits.DEADLINE_FACTOR))
  }

  #usualMs ({ assignments, ahead = 0, bytes = 0 }: RequestSize): number {
    const roundTrip = Number.isNaN(this.#roundTripMs) ? limits.UNKNOWN_RTT_MS : this.#roundTripMs
    return roundTrip + this.transferMs(bytes) + this.#queueMs + (1 + ahead) * this.#expectedServiceMs(assignments)
  }

  /** Two unknowns, one sample: its surprise is shared between round trip and bandwidth, the larger the frame the more to the bandwidth. */
  #addNetwork (networkMs: number, bytes: number): void {
    const share = bytes < limits.BANDWIDTH_MIN_BYTES || Number.isNaN(this.#roundTripMs) ? 0 : bytes / (bytes + limits.BANDWIDTH_HALF_BYTES)
    const surpriseMs = networkMs - this.transferMs(bytes) - this.#roundTripMs
    this.addRoundTrip(share === 0 ? networkMs - this.transferMs(bytes) : this.#roundTripMs + surpriseMs * (1 - share))
    if (share === 0) return
    const gain = Math.max(limits.SRTT_GAIN, 1 / ++this.#transfers)
    this.#msPerByte = Math.max(0, this.#msPerByte + gain * share * surpriseMs / bytes)
  }

  /** One sample moves it little, however late it is: a single stall does not put off the next hedge, a link that has changed does. */
  #addLateness (tookMs: number, usualMs: number): void {
    const sample = Math.abs(tookMs - usualMs) / Math.max(usualMs, 1)
    this.#lateness += (Math.min(sample, 3 * this.#lateness + 0.05) - this.#lateness) * limits.SRTT_GAIN
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
