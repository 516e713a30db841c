import './polyfill.js'
import type { Libp2p, PrivateKey } from '@libp2p/interface'
import type { Identify } from '@libp2p/identify'
import type { KadDHT } from '@libp2p/kad-dht'
import type { Ping } from '@libp2p/ping'
import type { OnSwarmEvent } from './events.js'

export interface SwarmServices extends Record<string, unknown> {
  dht: KadDHT
  ping: Ping
  identify: Identify
}

export interface SwarmHostInit {
  /** Identity of this host. Without it and without `keyFile` a fresh one, for as long as the process lives. */
  privateKey?: PrivateKey
  /** Where the identity is kept; created (0600) when it does not exist. */
  keyFile?: string
  /** Multiaddrs to listen on. @default [] for dht 'client', ['/ip4/127.0.0.1/tcp/0'] for 'server' */
  listen?: string[]
  /** Multiaddrs of hosts that are in the swarm already. None: this host starts a swarm. */
  bootstrap?: string[]
  /** Whether this host keeps records for others ('server') or only asks ('client'). */
  dht: 'server' | 'client'
  signal?: AbortSignal
  onEvent?: OnSwarmEvent
}

/** A started libp2p host in the swarm's DHT. */
export interface SwarmHost {
  readonly libp2p: Libp2p<SwarmServices>
  readonly privateKey: PrivateKey
  readonly peerId: string
  /** Where others can dial this host, each ending in /p2p/<peer id>. */
  readonly addresses: string[]
  stop: () => Promise<void>
}

/**
 * Starts a host and joins the swarm: returns once it listens and, when bootstrap addresses are given, has a usable routing table.
 * Throws SwarmError 'port-in-use', 'cannot-listen', 'bad-address', 'bad-key-file', 'unreachable' (no bootstrap address answered),
 * 'no-peers' (they answered, but not as a DHT) or 'aborted'.
 */
export declare function createSwarmHost (init: SwarmHostInit): Promise<SwarmHost>
