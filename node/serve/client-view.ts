import { coverageMap, formatRanges } from '../../swarm/index.js'
import type { ApiContext } from './request-context.js'
import { type PeerView, type SwarmView, trafficView } from './swarm-view.js'

/** The swarm as a client sees it: the peers within reach, and what they did for it. */
export function clientView ({ client, monitor, names }: Pick<ApiContext, 'client' | 'monitor' | 'names'>): SwarmView {
  const { bundle, config } = client
  const live = client.livePeers()
  const stats = new Map(client.peers().map(peer => [peer.peerId, peer]))
  // The work of a peer is the time that it computed for us.
  const computed = (peerId: string): number => {
    const peer = stats.get(peerId)
    return peer === undefined ? 0 : peer.requests * peer.serviceMs
  }
  const all = live.reduce((sum, { peerId }) => sum + computed(peerId), 0)
  const peers = live.map(({ peerId, manifest, latency }): PeerView => {
    const { requests, failures, queueMs, serviceMs } = stats.get(peerId) ?? { requests: 0, failures: 0, queueMs: 0, serviceMs: 0 }
    return {
      peerId,
      self: false,
      latencyMs: Number.isFinite(latency.roundTripMs) ? latency.roundTripMs : null,
      layers: formatRanges([...new Set(manifest.blocks.map(block => block.layer))].sort((a, b) => a - b)),
      blocks: manifest.blocks.length,
      version: manifest.version,
      load: manifest.load,
      capacity: manifest.capacity,
      work: { requests, failures, queueMs, serviceMs, share: all === 0 ? 0 : computed(peerId) / all }
    }
  })
  return {
    role: 'client',
    chat: true,
    model: { id: bundle.id, name: names.id, layers: config.layerTypes.length, experts: config.experts, topK: config.topK, context: config.maxPositions },
    cells: coverageMap(live.map(({ peerId, manifest }) => ({ peerId, blocks: manifest.blocks })), bundle.blocks)
      .map(({ peers: holders, layer, firstExpert, experts }) => ({ layer, firstExpert, experts, replicas: holders.length, local: client.localLayers.has(layer) })),
    peers: peers.sort((a, b) => (a.latencyMs ?? Infinity) - (b.latencyMs ?? Infinity)),
    ...trafficView(monitor)
  }
}
