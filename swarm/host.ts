import './polyfill.js'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { identify, type Identify } from '@libp2p/identify'
import type { Libp2p, PrivateKey } from '@libp2p/interface'
import { kadDHT, passthroughMapper, type KadDHT } from '@libp2p/kad-dht'
import { ping, type Ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { createLibp2p } from 'libp2p'
import { coalesced } from './coalesce.js'
import { joinSwarm, parseAddress } from './bootstrap.js'
import * as limits from './constants.js'
import { SwarmError } from './errors.js'
import type { OnSwarmEvent } from './events.js'
import { loadOrCreateKey } from './key-file.js'

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
  /** Multiaddrs to listen on. @default none for dht 'client', /ip4/127.0.0.1/tcp/0 for 'server' */
  listen?: string[]
  /** Multiaddrs to tell others instead of those listened on: of a forwarded port, a NAT, a proxy. Nobody dials another then. @default those listened on */
  announce?: string[]
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
export async function createSwarmHost (init: SwarmHostInit): Promise<SwarmHost> {
  const listen = init.listen ?? (init.dht === 'server' ? ['/ip4/127.0.0.1/tcp/0'] : [])
  for (const address of listen) parseAddress(address, 'listen on')
  for (const address of init.announce ?? []) parseAddress(address, 'announce')
  const bootstrap = (init.bootstrap ?? []).map(address => parseAddress(address, 'dial'))
  const privateKey = init.privateKey ?? (init.keyFile != null ? await loadOrCreateKey(init.keyFile) : await generateKeyPair('Ed25519'))
  const libp2p = await createLibp2p<SwarmServices>({ ...libp2pOptions(privateKey, { listen, announce: init.announce }, init.dht), start: false })
  try {
    await libp2p.start()
  } catch (error) {
    await libp2p.stop()
    throw listenError(error, listen)
  }
  await tellOwnAddresses(libp2p)
  try {
    await joinSwarm(libp2p, bootstrap, init.signal, init.onEvent ?? (() => {}))
  } catch (error) {
    await libp2p.stop()
    throw error
  }
  return {
    libp2p,
    privateKey,
    peerId: libp2p.peerId.toString(),
    get addresses () { return libp2p.getMultiaddrs().map(String) },
    stop: async () => { await libp2p.stop() }
  }
}

/**
 * libp2p enters our own addresses into the peer store a second after it listens. Until then a provider record of ours that
 * we keep ourselves has no address, so nobody is told of it: enter them at once.
 */
async function tellOwnAddresses (libp2p: Libp2p<SwarmServices>): Promise<void> {
  const suffix = `/p2p/${libp2p.peerId.toString()}`
  const multiaddrs = libp2p.getMultiaddrs().map(address => address.decapsulate(suffix))
  await libp2p.peerStore.patch(libp2p.peerId, { multiaddrs })
}

/** The one choice of transports, muxer, DHT and connection limits. */
function libp2pOptions (privateKey: PrivateKey, addresses: { listen: string[], announce?: string[] }, dht: 'server' | 'client'): Parameters<typeof createLibp2p<SwarmServices>>[0] {
  return {
    privateKey,
    addresses,
    transports: [tcp()],
    connectionEncrypters: [coalesced(noise())],
    streamMuxers: [yamux({
      streamOptions: {
        initialStreamWindowSize: limits.STREAM_INITIAL_WINDOW_BYTES,
        maxStreamWindowSize: limits.STREAM_MAX_WINDOW_BYTES,
        maxReadBufferLength: limits.STREAM_READ_BUFFER_BYTES
      }
    })],
    connectionMonitor: {
      pingInterval: limits.CONNECTION_PING_INTERVAL_MS,
      pingTimeout: { minTimeout: limits.CONNECTION_PING_TIMEOUT_MIN_MS, maxTimeout: limits.CONNECTION_PING_TIMEOUT_MAX_MS }
    },
    connectionManager: {
      maxConnections: limits.MAX_CONNECTIONS,
      inboundConnectionThreshold: limits.INBOUND_CONNECTIONS_PER_SECOND,
      maxIncomingPendingConnections: limits.MAX_PENDING_INBOUND_CONNECTIONS,
      reconnectRetries: limits.RECONNECT_RETRIES,
      reconnectRetryInterval: limits.RECONNECT_INTERVAL_MS
    },
    services: {
      identify: identify(),
      ping: ping(),
      dht: kadDHT({
        protocol: limits.KAD_PROTOCOL,
        clientMode: dht === 'client',
        // The default drops private addresses, and with them every swarm on a LAN or on one machine.
        peerInfoMapper: passthroughMapper,
        kBucketSize: limits.KAD_BUCKET_SIZE,
        alpha: limits.KAD_ALPHA,
        disjointPaths: limits.KAD_DISJOINT_PATHS,
        initialQuerySelfInterval: limits.KAD_INITIAL_SELF_QUERY_MS,
        querySelfInterval: limits.KAD_SELF_QUERY_INTERVAL_MS,
        // The first host of a swarm is alone: its queries end at once instead of waiting for company.
        allowQueryWithZeroPeers: true,
        reprovide: {
          validity: limits.PROVIDER_RECORD_VALIDITY_MS,
          threshold: limits.PROVIDER_RECORD_RENEWAL_MS,
          interval: limits.PROVIDER_RECORD_CHECK_MS
        }
      })
    }
  }
}

/** libp2p reports all listen errors in one text, each after its address. */
function listenError (error: unknown, listen: string[]): SwarmError {
  const text = error instanceof Error ? error.message : ''
  const failed = listen.filter(address => text.includes(`${address}: `))
  const address = failed[0] ?? listen.join(', ')
  if (text.includes('EADDRINUSE')) {
    return new SwarmError('port-in-use', `Another process listens on ${address}: choose another port, or tcp/0 for any free one.`, { address }, { cause: error })
  }
  return new SwarmError('cannot-listen', `This machine cannot listen on ${address}: name an address of this machine.`, { address }, { cause: error })
}
