import type { HostedExperts } from '../expert/hosted.js'
import type { LatencyEstimate } from '../selection/latency.js'

interface Replica {
  readonly hosted: HostedExperts
  readonly latency: Pick<LatencyEstimate, 'expectedMs'>
}

/**
 * Which of the live peers may make room for `newcomer`: none unless the newcomer holds an expert of `layers` that nobody live holds;
 * then the slowest whose own experts all have another holder. Pure.
 */
export function redundantPeer<P extends Replica> (live: readonly P[], newcomer: Replica, layers: readonly number[]): P | undefined {
  const replicas = new Map<number, Uint16Array>()
  for (const layer of layers) {
    for (const peer of [...live, newcomer]) {
      const held = peer.hosted.layer(layer)
      if (held == null) continue
      let count = replicas.get(layer)
      if (count == null) replicas.set(layer, count = new Uint16Array(held.length))
      for (let expert = 0; expert < held.length; expert++) count[expert] += held[expert]
    }
  }
  const needed = (peer: Replica): boolean => layers.some(layer => {
    const count = replicas.get(layer)
    return peer.hosted.layer(layer)?.some((held, expert) => held === 1 && count?.[expert] === 1) ?? false
  })
  if (!needed(newcomer)) return undefined
  return live
    .filter(peer => !needed(peer))
    .reduce<P | undefined>((slowest, peer) => slowest == null || peer.latency.expectedMs({ assignments: 1 }) > slowest.latency.expectedMs({ assignments: 1 }) ? peer : slowest, undefined)
}
