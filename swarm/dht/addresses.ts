import type { PeerId, PeerStore } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'

/** Addresses that one message may name for a peer: a machine has a few. Each is dialled and passed on to others. */
const MAX_ADDRESSES_TOLD = 8
/** Addresses kept of a peer by what others say; what it says itself replaces them. */
const MAX_ADDRESSES_KEPT = 16

/** Enters what somebody says of a peer's addresses into the peer store; when there would be too many, they take the place of the old ones. */
export async function rememberAddresses (peerStore: Pick<PeerStore, 'get' | 'merge' | 'patch'>, id: PeerId, multiaddrs: readonly Multiaddr[]): Promise<void> {
  if (multiaddrs.length === 0) return
  const told = multiaddrs.slice(0, MAX_ADDRESSES_TOLD)
  const known = await knownAddresses(peerStore, id)
  const fresh = told.filter(address => !known.has(address.toString()))
  if (fresh.length === 0) return
  if (known.size + fresh.length > MAX_ADDRESSES_KEPT) await peerStore.patch(id, { multiaddrs: told })
  else await peerStore.merge(id, { multiaddrs: told })
}

async function knownAddresses (peerStore: Pick<PeerStore, 'get'>, id: PeerId): Promise<Set<string>> {
  try {
    return new Set((await peerStore.get(id)).addresses.map(({ multiaddr }) => multiaddr.toString()))
  } catch {
    return new Set()
  }
}
