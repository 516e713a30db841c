import './polyfill.js'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { identify, type Identify } from '@libp2p/identify'
import type { Libp2p, PrivateKey } from '@libp2p/interface'
import { passthroughMapper, type KadDHT } from '@libp2p/kad-dht'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { ping, type Ping } from '@libp2p/ping'
import { preSharedKey } from '@libp2p/pnet'
import { tcp } from '@libp2p/tcp'
import { createLibp2p } from 'libp2p'
import { coalesced } from './coalesce.js'
import { joinSwarm, parseAddress } from './bootstrap.js'
import { ConnectionGate, type AccessLists } from './connection-gate.js'
import * as constants from './constants.js'
import { BoundedDatastore } from './dht/bounded-datastore.js'
import { guardedDht } from './dht/guarded-dht.js'
import { SwarmError } from './errors.js'
import type { OnSwarmEvent } from './events.js'
import { loadOrCreateKey } from './key-file.js'
import { newGuardCounters, peerLimits, type GuardCounters, type PeerLimits } from './limits.js'
import { isSwarmKey } from './swarm-key.js'

export interface SwarmServices extends Record<string, unknown> {
  dht: KadDHT
  ping: Ping
  identify: Identify
}

export interface SwarmHostInit extends AccessLists {
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
  /** Pre-shared key of a private swarm, as `createSwarmKey` makes it: without it nobody gets beyond the TCP connection. @default an open swarm */
  swarmKey?: string
  /** What strangers may cost this host, where it differs from DEFAULT_PEER_LIMITS. */
  limits?: Partial<PeerLimits>
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
  readonly limits: Readonly<PeerLimits>
  /** Since the start. */
  readonly counters: GuardCounters
  /** Decides who may connect. */
  readonly gate: ConnectionGate
  stop: () => Promise<void>
}

/**
 * Starts a host and joins the swarm: returns once it listens and, when bootstrap addresses are given, has a usable routing table.
 * Throws SwarmError 'port-in-use', 'cannot-listen', 'bad-address', 'bad-key-file', 'unreachable' (no bootstrap address answered),
 * 'no-peers' (they answered, but not as a DHT), 'bad-argument' (a limit, a list or the swarm key) or 'aborted'.
 */
export async function createSwarmHost (init: SwarmHostInit): Promise<SwarmHost> {
  const listen = init.listen ?? (init.dht === 'server' ? ['/ip4/127.0.0.1/tcp/0'] : [])
  for (const address of listen) parseAddress(address, 'listen on')
  for (const address of init.announce ?? []) parseAddress(address, 'announce')
  const bootstrap = (init.bootstrap ?? []).map(address => parseAddress(address, 'dial'))
  const privateKey = init.privateKey ?? (init.keyFile != null ? await loadOrCreateKey(init.keyFile) : await generateKeyPair('Ed25519'))
  const limits = peerLimits(init.limits)
  const counters = newGuardCounters()
  const gate: ConnectionGate = new ConnectionGate(limits, init, counters.connections, () => libp2p.getConnections())
  const libp2p = await createLibp2p<SwarmServices>({ ...libp2pOptions({ ...init, privateKey, listen, limits, counters, gate }), start: false })
  try {
    await libp2p.start()
  } catch (error) {
    await libp2p.stop()
    throw listenError(error, listen)
  }
  await tellOwnAddresses(libp2p)
  try {
    await joinSwarm(libp2p, bootstrap, { signal: init.signal, onEvent: init.onEvent, privately: init.swarmKey != null })
  } catch (error) {
    await libp2p.stop()
    throw error
  }
  return {
    libp2p,
    privateKey,
    peerId: libp2p.peerId.toString(),
    get addresses () { return libp2p.getMultiaddrs().map(String) },
    limits,
    counters,
    gate,
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

interface OptionsInit extends Pick<SwarmHostInit, 'announce' | 'dht' | 'swarmKey'> {
  privateKey: PrivateKey
  listen: string[]
  limits: PeerLimits
  counters: GuardCounters
  gate: ConnectionGate
}

/** The one choice of transports, muxer, DHT and connection limits. */
function libp2pOptions ({ privateKey, listen, announce, dht, swarmKey, limits, counters, gate }: OptionsInit): Parameters<typeof createLibp2p<SwarmServices>>[0] {
  if (swarmKey != null && !isSwarmKey(swarmKey)) throw new SwarmError('bad-argument', 'The swarm key is not one that `moeswarm swarm-key` makes.', { argument: 'swarmKey' })
  return {
    privateKey,
    datastore: new BoundedDatastore(limits, counters.dht, peerIdFromPrivateKey(privateKey).toString()),
    connectionGater: gate,
    ...swarmKey == null ? {} : { connectionProtector: preSharedKey({ psk: Buffer.from(swarmKey) }) },
    addresses: { listen, announce },
    transports: [tcp()],
    connectionEncrypters: [coalesced(noise())],
    streamMuxers: [yamux({
      maxInboundStreams: limits.maxStreamsPerConnection,
      streamOptions: {
        initialStreamWindowSize: constants.STREAM_INITIAL_WINDOW_BYTES,
        maxStreamWindowSize: constants.STREAM_MAX_WINDOW_BYTES,
        maxReadBufferLength: constants.STREAM_READ_BUFFER_BYTES
      }
    })],
    connectionMonitor: {
      pingInterval: constants.CONNECTION_PING_INTERVAL_MS,
      pingTimeout: { minTimeout: constants.CONNECTION_PING_TIMEOUT_MIN_MS, maxTimeout: constants.CONNECTION_PING_TIMEOUT_MAX_MS }
    },
    connectionManager: {
      // The gate decides, and counts, who comes in. What this dials beyond that, libp2p closes by itself when it is not used.
      maxConnections: limits.maxConnections * 2,
      inboundConnectionThreshold: Number.MAX_SAFE_INTEGER,
      maxIncomingPendingConnections: limits.maxPendingConnections + 1,
      inboundUpgradeTimeout: limits.handshakeTimeoutMs,
      inboundStreamProtocolNegotiationTimeout: limits.handshakeTimeoutMs,
      reconnectRetries: constants.RECONNECT_RETRIES,
      reconnectRetryInterval: constants.RECONNECT_INTERVAL_MS
    },
    services: {
      identify: identify(),
      ping: ping({ maxOutboundStreams: constants.PING_STREAMS, maxInboundStreams: 2 * constants.PING_STREAMS }),
      dht: guardedDht({
        protocol: constants.KAD_PROTOCOL,
        clientMode: dht === 'client',
        // The default drops private addresses, and with them every swarm on a LAN or on one machine.
        peerInfoMapper: passthroughMapper,
        kBucketSize: constants.KAD_BUCKET_SIZE,
        alpha: constants.KAD_ALPHA,
        disjointPaths: constants.KAD_DISJOINT_PATHS,
        initialQuerySelfInterval: constants.KAD_INITIAL_SELF_QUERY_MS,
        querySelfInterval: constants.KAD_SELF_QUERY_INTERVAL_MS,
        // The first host of a swarm is alone: its queries end at once instead of waiting for company.
        allowQueryWithZeroPeers: true,
        reprovide: {
          validity: limits.providerRecordValidityMs,
          threshold: constants.PROVIDER_RECORD_RENEWAL_MS,
          interval: Math.min(constants.PROVIDER_RECORD_CHECK_MS, limits.providerRecordValidityMs)
        }
      }, limits, counters.dht)
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
