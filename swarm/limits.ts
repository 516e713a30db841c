import * as constants from './constants.js'
import { SwarmError } from './errors.js'

const KiB = 1024
const MiB = 1024 * KiB

/** What strangers may cost a host: every limit, and nothing else decides it. What is above one is refused and counted, see `GuardCounters`. */
export interface PeerLimits {
  /** Inbound, handshakes included; this host may dial as many again. When all are taken, a newcomer displaces who has been idle longest. */
  maxConnections: number
  /** Inbound, of one peer id. Two hosts that dial each other at once have two. */
  maxConnectionsPerPeer: number
  /** Inbound, of one IPv4 address or one IPv6 /64. */
  maxConnectionsPerIp: number
  /** Inbound, of one IPv4 /24 or one IPv6 /48. */
  maxConnectionsPerSubnet: number
  /** Inbound, whose handshake is not over. */
  maxPendingConnections: number
  /** Inbound connections a second of one address: a handshake costs both sides about 10 ms of CPU. */
  dialsPerSecondPerIp: number
  /** Inbound connections a second in all. */
  dialsPerSecond: number
  /** From the TCP connection to its encryption and muxer, and from a stream to its first complete frame. */
  handshakeTimeoutMs: number
  /** A connection without a request for this long may be displaced by a newcomer; one that is younger is not. */
  idleConnectionMs: number

  /** Inbound, of all protocols, on one connection. */
  maxStreamsPerConnection: number
  /** Inbound, of the expert protocol, on one connection: one in use, one spare while a broken one is being noticed. */
  maxExpertStreamsPerConnection: number

  /** A longer frame ends its stream before it is read. */
  maxFrameBytes: number
  /** Tokens of one request. */
  maxRequestTokens: number
  /** A frame whose first byte has come must be complete after this, and a reply must leave at 8 KiB a second or faster. */
  frameTimeoutMs: number
  /** Of frames that are not complete yet, in all: the oldest is cut. */
  maxPartialFrameBytes: number
  /** Replies that wait for one slow reader: its stream is cut. */
  maxBacklogBytesPerStream: number
  /** Replies that wait for all readers: the slowest is cut. */
  maxBacklogBytes: number

  /** Requests being served, of one peer. */
  maxRequestsPerPeer: number
  /** Requests being served, in all. */
  maxRequests: number
  /** Memory of requests and their replies, of one peer, and in all. */
  maxBytesInFlightPerPeer: number
  maxBytesInFlight: number
  /** Requests a second of one peer, and in all; a second's worth may come at once. Who goes on at twice the rate is cut. */
  requestsPerSecondPerPeer: number
  requestsPerSecond: number
  /** Manifests sent a second to one peer. */
  manifestsPerSecondPerPeer: number
  /** Contents of files sent to one peer, and in all. */
  blockBytesPerSecondPerPeer: number
  blockBytesPerSecond: number

  /** Messages a second of one peer, and in all; five seconds' worth may come at once. Each started 1 KiB counts as one. */
  dhtMessagesPerSecondPerPeer: number
  dhtMessagesPerSecond: number
  /** Provider records kept for one peer: a model has one for each layer and two more. */
  maxProviderRecordsPerPeer: number
  /** Provider records kept of one key: the oldest gives way. */
  maxProviderRecordsPerKey: number
  /** Provider records kept in all: the oldest of the peer that has most gives way. */
  maxProviderRecords: number
  /** Provider records that nobody has renewed for this long are deleted. */
  providerRecordValidityMs: number
  /** Peers whose addresses are remembered: the one not used for longest gives way. */
  maxKnownPeers: number
}

/** Generous to an honest client on a fast machine; together about 600 MiB and one core at the very worst. */
export const DEFAULT_PEER_LIMITS: Readonly<PeerLimits> = {
  maxConnections: 300,
  maxConnectionsPerPeer: 4,
  maxConnectionsPerIp: 64,
  maxConnectionsPerSubnet: 128,
  maxPendingConnections: 64,
  dialsPerSecondPerIp: 50,
  dialsPerSecond: 100,
  handshakeTimeoutMs: constants.HANDSHAKE_TIMEOUT_MS,
  idleConnectionMs: 10_000,

  maxStreamsPerConnection: 128,
  maxExpertStreamsPerConnection: constants.MAX_STREAMS_PER_CONNECTION,

  maxFrameBytes: constants.MAX_FRAME_BYTES,
  maxRequestTokens: constants.MAX_REQUEST_TOKENS,
  frameTimeoutMs: 20_000,
  maxPartialFrameBytes: 64 * MiB,
  maxBacklogBytesPerStream: constants.MAX_WRITE_BACKLOG_BYTES,
  maxBacklogBytes: 64 * MiB,

  maxRequestsPerPeer: constants.MAX_IN_FLIGHT,
  maxRequests: 1_024,
  maxBytesInFlightPerPeer: 128 * MiB,
  maxBytesInFlight: 256 * MiB,
  requestsPerSecondPerPeer: 4_000,
  requestsPerSecond: 8_000,
  manifestsPerSecondPerPeer: 20,
  blockBytesPerSecondPerPeer: constants.BLOCKS_PEER_BYTES_PER_SECOND,
  blockBytesPerSecond: constants.BLOCKS_TOTAL_BYTES_PER_SECOND,

  dhtMessagesPerSecondPerPeer: 200,
  dhtMessagesPerSecond: 1_000,
  maxProviderRecordsPerPeer: constants.MAX_LAYERS + 2,
  maxProviderRecordsPerKey: 512,
  maxProviderRecords: 50_000,
  providerRecordValidityMs: constants.PROVIDER_RECORD_VALIDITY_MS,
  maxKnownPeers: 10_000
}

/** Below these the protocol itself does not work. */
const MINIMA: Partial<PeerLimits> = { maxFrameBytes: constants.MIN_FRAME_BYTES, blockBytesPerSecondPerPeer: constants.BLOCKS_FRAME_BYTES, blockBytesPerSecond: constants.BLOCKS_FRAME_BYTES }
/** Above these the other side ends the stream. */
const MAXIMA: Partial<PeerLimits> = { maxFrameBytes: constants.MAX_FRAME_BYTES, maxRequestTokens: constants.MAX_REQUEST_TOKENS }

/** The defaults with these changed. Throws SwarmError 'bad-argument' for one that is no whole number, or out of the protocol's range. */
export function peerLimits (changed: Partial<PeerLimits> = {}): PeerLimits {
  const limits = { ...DEFAULT_PEER_LIMITS }
  for (const name of Object.keys(DEFAULT_PEER_LIMITS) as Array<keyof PeerLimits>) {
    const value = changed[name] ?? limits[name]
    const [least, most] = [MINIMA[name] ?? 1, MAXIMA[name] ?? Number.MAX_SAFE_INTEGER]
    if (!Number.isSafeInteger(value) || value < least || value > most) {
      throw new SwarmError('bad-argument', `The limit ${name} is a whole number from ${least} to ${most}, not ${value}.`, { argument: name })
    }
    limits[name] = value
  }
  return limits
}

/** Why a connection was refused or ended by a limit or a list. */
export type ConnectionRefusal = 'full' | 'perPeer' | 'perIp' | 'perSubnet' | 'pending' | 'dialRate' | 'notAllowed'

/** What the limits have done since the start of a host, and what is taken now. */
export interface GuardCounters {
  connections: {
    /** Inbound, handshakes included. */
    open: number
    pending: number
    /** Idle ones that made room for a newcomer. */
    displaced: number
    refused: Record<ConnectionRefusal, number>
  }
  dht: {
    providerRecords: number
    knownPeers: number
    /** Provider records that were not kept, or gave way. */
    recordsRefused: number
    /** Streams of the DHT that were cut for the rate of their messages. */
    messagesRefused: number
  }
  /** Manifests that were asked for too often. */
  manifestsRefused: number
}

export function newGuardCounters (): GuardCounters {
  return {
    connections: { open: 0, pending: 0, displaced: 0, refused: { full: 0, perPeer: 0, perIp: 0, perSubnet: 0, pending: 0, dialRate: 0, notAllowed: 0 } },
    dht: { providerRecords: 0, knownPeers: 0, recordsRefused: 0, messagesRefused: 0 },
    manifestsRefused: 0
  }
}
