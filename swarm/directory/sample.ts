import type { PeerInfo } from '@libp2p/interface'
import type { CID } from 'multiformats/cid'
import * as limits from '../constants.js'
import { within } from '../deadline.js'
import { rememberAddresses } from '../dht/addresses.js'
import { findProviders } from '../dht/providers.js'
import { isSwarmError } from '../errors.js'
import type { SwarmHost } from '../host.js'
import { placeOf } from '../selection/order.js'
import { fetchManifest } from './manifest-protocol.js'
import type { PeerManifest } from './manifest.js'

export interface PeerSample {
  /** Those that answered as live peers of the model. */
  live: Array<{ peerId: string, manifest: PeerManifest }>
  /** Whether everybody was asked. */
  whole: boolean
}

/**
 * What the peers that the DHT names for a key say of themselves; at most `most` of them are asked, so that what a volunteer costs the others does not
 * grow with the swarm. They are the same at each look, as far as they are there, so that chance does not move a view from look to look, and others
 * for each who looks.
 */
export async function samplePeers (host: SwarmHost, key: CID, modelId: string, { most, signal }: { most: number, signal?: AbortSignal }): Promise<PeerSample> {
  const named: PeerInfo[] = []
  using limit = within(limits.DHT_QUERY_TIMEOUT_MS, signal)
  for await (const provider of findProviders(host.libp2p.services.dht, key, limit.signal)) {
    if (!provider.id.equals(host.libp2p.peerId)) named.push(provider)
  }
  signal?.throwIfAborted()
  const chosen = named
    .map(peer => ({ peer, place: placeOf(host.peerId, peer.id.toString()) }))
    .sort((a, b) => a.place - b.place)
    .slice(0, most)
  const answers = await Promise.all(chosen.map(async ({ peer }) => await ask(host, peer, signal)))
  signal?.throwIfAborted()
  return {
    live: answers.flatMap((manifest, at) => manifest?.modelId === modelId ? [{ peerId: chosen[at].peer.id.toString(), manifest }] : []),
    whole: named.length <= most
  }
}

async function ask ({ libp2p }: SwarmHost, { id, multiaddrs }: PeerInfo, signal: AbortSignal | undefined): Promise<PeerManifest | undefined> {
  await rememberAddresses(libp2p.peerStore, id, multiaddrs)
  // Two hosts that dial each other at once may close one of the connections under a stream: once more.
  for (let attempt = 0; attempt < 2; attempt++) {
    using limit = within(limits.MANIFEST_FETCH_TIMEOUT_MS, signal)
    try {
      return await fetchManifest(libp2p, id, 0, limit.signal)
    } catch (error) {
      if (!isSwarmError(error, 'unreachable')) return undefined
    }
  }
  return undefined
}
