import { KEEP_ALIVE, type Libp2p, type PeerId } from '@libp2p/interface'
import { multiaddr, type Multiaddr } from '@multiformats/multiaddr'
import { DIAL_TIMEOUT_MS, ROUTING_TABLE_TIMEOUT_MS } from './constants.js'
import { within } from './deadline.js'
import { onRoutingTableGrowth, routingTableSize } from './dht/routing-table.js'
import { SwarmError } from './errors.js'
import type { OnSwarmEvent } from './events.js'
import type { SwarmServices } from './host.js'

/** Throws SwarmError 'bad-address'. `use` is what the address is for, as a person would say it. */
export function parseAddress (address: string, use: string): Multiaddr {
  try {
    return multiaddr(address)
  } catch (error) {
    throw new SwarmError('bad-address', `${JSON.stringify(address)} is not a multiaddr to ${use}: it should look like /ip4/127.0.0.1/tcp/4001.`, { address }, { cause: error })
  }
}

export interface JoinOptions {
  signal?: AbortSignal
  onEvent?: OnSwarmEvent
  /** With a pre-shared key. */
  privately: boolean
}

/**
 * Dials every address and waits until somebody is in the routing table.
 * Throws SwarmError 'unreachable' when none answers, 'no-peers' when nobody who answers takes part in the DHT, 'aborted'.
 */
export async function joinSwarm (libp2p: Libp2p<SwarmServices>, addresses: Multiaddr[], { signal, onEvent = () => {}, privately }: JoinOptions): Promise<void> {
  const others = addresses.filter(address => !namesPeer(address, libp2p.peerId))
  if (others.length === 0) return
  const names = others.map(String)
  const results = await Promise.allSettled(others.map(async address => {
    using limit = within(DIAL_TIMEOUT_MS, signal)
    const connection = await libp2p.dial(address, { signal: limit.signal })
    await libp2p.peerStore.merge(connection.remotePeer, { tags: { [`${KEEP_ALIVE}-bootstrap`]: { value: 1 } } })
  }))
  if (signal?.aborted === true) throw new SwarmError('aborted', 'Joining the swarm was cancelled.', {})
  const failures = results.flatMap((result, at) => result.status === 'rejected' ? [{ address: names[at], error: result.reason as unknown }] : [])
  if (failures.length === others.length) {
    throw new SwarmError('unreachable', `No bootstrap address answers (${names.join(', ')}): check that a peer runs there and that the address is right${privately ? ', and that its swarm key is ours' : '; a private swarm answers only with its --swarm-key'}.`,
      { addresses: names }, { cause: failures[0].error })
  }
  for (const { address, error } of failures) {
    onEvent({ type: 'bootstrap-failed', address, reason: error instanceof Error ? error.name : 'unknown' })
  }
  await routingTableUsable(libp2p, names, signal)
}

function namesPeer (address: Multiaddr, peerId: PeerId): boolean {
  return address.toString().endsWith(`/p2p/${peerId.toString()}`)
}

async function routingTableUsable (libp2p: Libp2p<SwarmServices>, addresses: string[], signal?: AbortSignal): Promise<void> {
  const { dht } = libp2p.services
  if (routingTableSize(dht) > 0) return
  await new Promise<void>((resolve, reject) => {
    const settle = (outcome: () => void): void => {
      stopListening()
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      outcome()
    }
    const abort = (): void => { settle(() => { reject(new SwarmError('aborted', 'Joining the swarm was cancelled.', {})) }) }
    const stopListening = onRoutingTableGrowth(dht, () => { settle(resolve) })
    const timer = setTimeout(() => {
      settle(() => {
        reject(new SwarmError('no-peers', `The hosts at ${addresses.join(', ')} answer but take no part in a moeswarm DHT: name the address of a moeswarm peer.`, { addresses }))
      })
    }, ROUTING_TABLE_TIMEOUT_MS)
    signal?.addEventListener('abort', abort)
  })
}
