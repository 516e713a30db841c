import * as limits from '../constants.js'
import type { LivePeer } from '../directory/directory.js'
import type { LatencyEstimate } from '../selection/latency.js'
import type { WireDtype } from '../interface.js'
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
  /** Requests that it answered so late that a replica was asked too. */
  late: number
  /** Requests that it got because another was late, and those of them that it answered first. */
  hedges: number
  hedgesWon: number
  /** Of its replies, those that were compared with others' or asked for only to be compared. */
  audited: number
  /** Smoothed round trip without queue and service; NaN before the first measurement. */
  latencyMs: number
  /** Of the round trip. */
  deviationMs: number
  /** Of large frames; Infinity while they took no longer than small ones. */
  mbitPerSecond: number
  /** Forms of its requests on the wire, the latest last. */
  wires: WireDtype[]
  /** Bytes of its requests and replies. */
  bytes: number
  /** Means of the served requests. */
  queueMs: number
  serviceMs: number
}

interface Tally {
  requests: number
  tokens: number
  layers: Set<number>
  failures: number
  late: number
  hedges: number
  hedgesWon: number
  audited: number
  queueMicros: number
  serviceMicros: number
  wires: Set<WireDtype>
  bytes: number
  latency: LatencyEstimate
}

type RatedPeer = Pick<LivePeer, 'peerId' | 'latency'>

/** Counts per peer, of at most MAX_REMEMBERED_PEERS peers: the one used first is forgotten first. */
export class PeerTallies {
  readonly #tallies = new Map<string, Tally>()

  served (peer: RatedPeer, { layer, tokens }: RequestPart, { queueMicros, serviceMicros, dtype, bytes }: PartReply, hedge: boolean): void {
    const tally = this.#of(peer)
    tally.requests++
    tally.tokens += tokens
    tally.layers.add(layer)
    tally.queueMicros += queueMicros
    tally.serviceMicros += serviceMicros
    tally.bytes += bytes
    tally.wires.delete(dtype)
    tally.wires.add(dtype)
    if (hedge) tally.hedgesWon++
  }

  hedged (late: RatedPeer, replica: RatedPeer): void {
    this.#of(late).late++
    this.#of(replica).hedges++
  }

  audited (peer: RatedPeer): void {
    this.#of(peer).audited++
  }

  failed (peer: RatedPeer): void {
    this.#of(peer).failures++
  }

  stats (): PeerStats[] {
    return [...this.#tallies].map(([peerId, tally]) => ({
      peerId,
      requests: tally.requests,
      tokens: tally.tokens,
      layers: [...tally.layers].sort((a, b) => a - b),
      failures: tally.failures,
      late: tally.late,
      hedges: tally.hedges,
      hedgesWon: tally.hedgesWon,
      audited: tally.audited,
      latencyMs: tally.latency.roundTripMs,
      deviationMs: tally.latency.deviationMs,
      mbitPerSecond: tally.latency.mbitPerSecond,
      wires: [...tally.wires],
      bytes: tally.bytes,
      queueMs: tally.requests === 0 ? 0 : tally.queueMicros / tally.requests / 1_000,
      serviceMs: tally.requests === 0 ? 0 : tally.serviceMicros / tally.requests / 1_000
    }))
  }

  #of ({ peerId, latency }: RatedPeer): Tally {
    let tally = this.#tallies.get(peerId)
    if (tally == null) {
      for (const oldest of this.#tallies.keys()) {
        if (this.#tallies.size < limits.MAX_REMEMBERED_PEERS) break
        this.#tallies.delete(oldest)
      }
      tally = { requests: 0, tokens: 0, layers: new Set(), failures: 0, late: 0, hedges: 0, hedgesWon: 0, audited: 0, queueMicros: 0, serviceMicros: 0, wires: new Set(), bytes: 0, latency }
      this.#tallies.set(peerId, tally)
    }
    return tally
  }
}
