import type { PeerInfo } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import type { CID } from 'multiformats/cid'

/** Peers that the DHT's records name for a key, each once, as they are found. Ends with the query, or silently with `signal`. */
export async function * findProviders (dht: KadDHT, key: CID, signal: AbortSignal): AsyncGenerator<PeerInfo> {
  const seen = new Set<string>()
  try {
    for await (const event of dht.findProviders(key, { signal })) {
      if (event.name !== 'PROVIDER') continue
      for (const provider of event.providers) {
        const id = provider.id.toString()
        if (seen.has(id)) continue
        seen.add(id)
        yield provider
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
}
