import type { Libp2p, PeerId } from '@libp2p/interface'

/**
 * Calls `onPeer` for every peer that this host is connected to, as bootstrap or by the DHT, and that speaks the protocol: no provider
 * record is needed to find it. Now, and whenever one connects. Returns what ends that.
 */
export async function watchNeighbours (
  libp2p: Pick<Libp2p, 'register' | 'unregister' | 'getPeers' | 'peerStore'>, protocol: string, onPeer: (peer: PeerId) => void
): Promise<() => void> {
  const topologyId = await libp2p.register(protocol, { onConnect: onPeer })
  // A topology only tells of connections to come.
  for (const id of libp2p.getPeers()) {
    try {
      const { protocols } = await libp2p.peerStore.get(id)
      if (protocols.includes(protocol)) onPeer(id)
    } catch {
      // It left just now, and its entry with it.
    }
  }
  return () => { libp2p.unregister(topologyId) }
}
