import * as limits from '../constants.js'
import type { LatencyEstimate } from '../selection/latency.js'
import type { PartReply } from './client.js'
import type { RequestPart } from './codec.js'

/** What a peer did for us since we connected. Times in milliseconds. */
export interface PeerStats {
  peerId: string
  requests: number
  tokens: number
  /** Ascending. */
  layers: number[]
  failures: number
  /** Smoothed round trip without queue and service; NaN before the first measurement. */
  latencyMs: number
  /** Means of the served requests. */
  queueMs: number
  serviceMs: number
}

interface Tally {
  requests: number
  tokens: number
  layers: Set<number>
  failures: number
  queueMicros: number
  serviceMicros: number
  latency: LatencyEstimate
}

/** Counts per peer, of at most MAX_REMEMBERED_PEERS peers: the one used first is forgotten first. */
export class PeerTallies {
  readonly #tallies = new Map<string, Tally>()

  served (peerId: string, latency: LatencyEstimate, { layer, tokens }: RequestPart, { queueMicros, serviceMicros }: PartReply): void {
    const tally = this.#of(peerId, latency)
    tally.requests++
    tally.tokens += tokens
    tally.layers.add(layer)
    tally.queueMicros += queueMicros
    tally.serviceMicros += serviceMicros
  }

  failed (peerId: string, latency: LatencyEstimate): void {
    this.#of(peerId, latency).failures++
  }

  stats (): PeerStats[] {
    return [...this.#tallies].map(([peerId, tally]) => ({
      peerId,
      requests: tally.requests,
      tokens: tally.tokens,
      layers: [...tally.layers].sort((a, b) => a - b),
      failures: tally.failures,
      latencyMs: tally.latency.roundTripMs,
      queueMs: tally.requests === 0 ? 0 : tally.queueMicros / tally.requests / 1_000,
      serviceMs: tally.requests === 0 ? 0 : tally.serviceMicros / tally.requests / 1_000
    }))
  }

  #of (peerId: string, latency: LatencyEstimate): Tally {
    let tally = this.#tallies.get(peerId)
    if (tally == null) {
      for (const oldest of this.#tallies.keys()) {
        if (this.#tallies.size < limits.MAX_REMEMBERED_PEERS) break
        this.#tallies.delete(oldest)
      }
      tally = { requests: 0, tokens: 0, layers: new Set(), failures: 0, queueMicros: 0, serviceMicros: 0, latency }
      this.#tallies.set(peerId, tally)
    }
    return tally
  }
}
