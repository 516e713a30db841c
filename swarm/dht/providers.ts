import type { PeerInfo } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import type { CID } from 'multiformats/cid'

/** Providers that are believed of one answer, and of a query: whoever answers may name as many as fit into a message. */
const MAX_PER_ANSWER = 512
const MAX_PER_QUERY = 4_096

/**
 * Peers that the DHT's records name for a key, each once, as they are found. Ends with the query, after MAX_PER_QUERY peers, or silently with
 * `signal`.
 */
export async function * findProviders (dht: KadDHT, key: CID, signal: AbortSignal): AsyncGenerator<PeerInfo> {
  const seen = new Set<string>()
  try {
    for await (const event of dht.findProviders(key, { signal })) {
      if (event.name !== 'PROVIDER') continue
      for (const provider of event.providers.slice(0, MAX_PER_ANSWER)) {
        const id = provider.id.toString()
        if (seen.has(id)) continue
        seen.add(id)
        yield provider
        if (seen.size >= MAX_PER_QUERY) return
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
}
