import type { PeerId } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'

/** A leaf of kad-dht's trie holds peers, an inner node two halves. */
interface Bucket {
  prefix: string
  depth: number
  peers?: Array<{ peerId: PeerId, lastPing: number }>
  left?: Bucket
  right?: Bucket
}

interface RoutingTable extends EventTarget {
  readonly size: number
  readonly kb: { readonly root: Bucket }
}

/** kad-dht 16.4.5 has the table at run time but not in its type. Versions are pinned by the lock file; this is the only cast. */
function tableOf (dht: KadDHT): RoutingTable {
  return (dht as unknown as { routingTable: RoutingTable }).routingTable
}

export interface RoutingBucket {
  /** Bits that the hashed peer ids have in common. */
  prefix: string
  depth: number
  peers: Array<{ peerId: string, lastPingMs: number }>
}

export function routingTableSize (dht: KadDHT): number {
  return tableOf(dht).size
}

/** The k-buckets, nearest to zero first. `lastPingMs` is of the epoch. */
export function routingBuckets (dht: KadDHT): RoutingBucket[] {
  const buckets: RoutingBucket[] = []
  const walk = (bucket: Bucket): void => {
    if (bucket.peers != null) {
      buckets.push({
        prefix: bucket.prefix,
        depth: bucket.depth,
        peers: bucket.peers.map(({ peerId, lastPing }) => ({ peerId: peerId.toString(), lastPingMs: lastPing }))
      })
    }
    if (bucket.left != null) walk(bucket.left)
    if (bucket.right != null) walk(bucket.right)
  }
  walk(tableOf(dht).kb.root)
  return buckets
}

/** Calls `listener` whenever a peer enters the table. Returns what ends that. */
export function onRoutingTableGrowth (dht: KadDHT, listener: () => void): () => void {
  const table = tableOf(dht)
  table.addEventListener('peer:add', listener)
  return () => { table.removeEventListener('peer:add', listener) }
}
