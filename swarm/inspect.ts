import { createHash } from 'node:crypto'
import type { PeerId, PeerInfo } from '@libp2p/interface'
import type { QueryEvent } from '@libp2p/kad-dht'
import { peerIdFromString } from '@libp2p/peer-id'
import { CID } from 'multiformats/cid'
import * as limits from './constants.js'
import { within } from './deadline.js'
import { coverageMap, type CoverageCell } from './directory/coverage.js'
import { fetchManifest } from './directory/manifest-protocol.js'
import { layerKey, modelKey } from './dht/keys.js'
import { rememberAddresses } from './dht/addresses.js'
import { findProviders } from './dht/providers.js'
import { routingBuckets, type RoutingBucket } from './dht/routing-table.js'
import { asSwarmError, SwarmError, type SwarmErrorCode } from './errors.js'
import { HostedExperts } from './expert/hosted.js'
import type { SwarmHost } from './host.js'
import type { HostedBlock } from './interface.js'
import { LatencyEstimate } from './selection/latency.js'
import { planLayer, type PlanReason } from './selection/plan.js'

export interface InspectOptions {
  signal?: AbortSignal
}

/** A peer that a provider record names, and what it says of itself when asked. */
export interface InspectedPeer {
  peerId: string
  /** Of the record; after a restart they may be old. */
  addresses: string[]
  /** Absent: the peer did not answer as a live peer of this model, for the reason in `failure`. */
  manifest?: {
    modelId: string
    blocks: HostedBlock[]
    version: string
    capacity: number
    load: number
    /** By the peer's clock. */
    ageMs: number
  }
  /** This machine's clock less the time at which the peer signed its manifest, by its own: their difference and up to a second or two. */
  clockDifferenceMs?: number
  /** Smoothed round trip of INSPECT_PINGS pings, and its deviation. */
  latencyMs?: number
  deviationMs?: number
  /** Until its reply to a token's request, as a client that knows only these pings expects it. */
  expectedMs?: number
  /** By layer: whether a client here would ask it for the whole layer, and why not. */
  plan?: Array<{ layer: number, reason: PlanReason }>
  failure?: SwarmErrorCode
}

/** One event of a DHT query, in milliseconds since its start. */
export interface LookupHop {
  atMs: number
  kind: 'ask' | 'answer' | 'found' | 'failed'
  /** Asked, answering or failing; for 'found' the one that told us. */
  peerId: string
  /** Which of the disjoint paths; -1 is this host's own knowledge. */
  path: number
  /** Leading bits that the peer's place in the DHT has in common with the target's: the more, the nearer. */
  sharedBits: number
  /** Peers nearer to the key that an answer names. */
  closer?: string[]
  /** What a 'found' found: the peer itself, or the providers of the key. */
  peers?: Array<{ peerId: string, addresses: string[] }>
  /** Name of the error. */
  error?: string
}

/** Looks into the swarm from a host that needs no bundle: a model id is enough. */
export class SwarmInspector {
  readonly #host: SwarmHost

  constructor (host: SwarmHost) {
    this.#host = host
  }

  /** Everybody that the DHT names for a model, asked for manifest and ping. */
  async peers (modelId: string, options: InspectOptions = {}): Promise<InspectedPeer[]> {
    return withPlan(await this.#inspect(modelKey(modelId), modelId, options))
  }

  /** Ids of the models that the hosts serve which this one is connected to; a bootstrap host is one of them. */
  async models ({ signal }: InspectOptions = {}): Promise<string[]> {
    const { libp2p } = this.#host
    using limit = within(limits.MANIFEST_FETCH_TIMEOUT_MS, signal)
    const served = await Promise.all(libp2p.getPeers().map(async peer => await fetchManifest(libp2p, peer, 0, limit.signal).then(({ modelId }) => modelId, () => undefined)))
    signal?.throwIfAborted()
    return [...new Set(served)].filter(modelId => modelId != null).sort()
  }

  /** Layer x block with the live peers that hold it. `expected` are the model's blocks, to see holes that nobody's manifest tells of. */
  async coverage (modelId: string, options: InspectOptions & { expected?: HostedBlock[] } = {}): Promise<CoverageCell[]> {
    const peers = await this.peers(modelId, options)
    return coverageMap(peers.flatMap(({ peerId, manifest }) => manifest == null ? [] : [{ peerId, blocks: manifest.blocks }]), options.expected)
  }

  /** The raw provider records of a layer, and which of them answer. */
  async providers (modelId: string, layer: number, options: InspectOptions = {}): Promise<InspectedPeer[]> {
    return await this.#inspect(layerKey(modelId, layer), modelId, options)
  }

  /** The k-buckets of this host. */
  routingTable (): RoutingBucket[] {
    return routingBuckets(this.#host.libp2p.services.dht)
  }

  /**
   * The path of a query, hop by hop, as it happens. `target`: a peer id, a CID, or a layer of a model.
   * Throws SwarmError 'bad-argument' when it is none of these.
   */
  async * lookup (target: string | { modelId: string, layer: number }, { signal }: InspectOptions = {}): AsyncGenerator<LookupHop> {
    const { dht } = this.#host.libp2p.services
    using limit = within(limits.DHT_QUERY_TIMEOUT_MS, signal)
    const key = typeof target === 'string' ? parseTarget(target) : layerKey(target.modelId, target.layer)
    const query = key instanceof CID ? dht.findProviders(key, { signal: limit.signal }) : dht.findPeer(key, { signal: limit.signal })
    const place = placeOf(key instanceof CID ? key.multihash.bytes : key.toMultihash().bytes)
    const startedAt = performance.now()
    try {
      for await (const event of query) {
        const hop = hopOf(event, performance.now() - startedAt)
        if (hop != null) yield { ...hop, sharedBits: sharedBits(place, placeOf(peerIdFromString(hop.peerId).toMultihash().bytes)) }
      }
    } catch (error) {
      // Without an answer findPeer throws: the hops have told the story.
      if (signal?.aborted === true) throw error
    }
  }

  async #inspect (key: CID, modelId: string, { signal }: InspectOptions): Promise<InspectedPeer[]> {
    const asked: Array<Promise<InspectedPeer>> = []
    using limit = within(limits.DHT_QUERY_TIMEOUT_MS, signal)
    for await (const provider of findProviders(this.#host.libp2p.services.dht, key, limit.signal)) {
      if (!provider.id.equals(this.#host.libp2p.peerId)) asked.push(this.#askTwice(provider, modelId, signal))
    }
    return (await Promise.all(asked)).sort((a, b) => a.peerId < b.peerId ? -1 : 1)
  }

  /** Two hosts that dial each other at once, as the query and this do, may close one of the connections under a stream. */
  async #askTwice (provider: PeerInfo, modelId: string, signal: AbortSignal | undefined): Promise<InspectedPeer> {
    const peer = await this.#ask(provider, modelId, signal)
    return peer.failure === 'unreachable' && signal?.aborted !== true ? await this.#ask(provider, modelId, signal) : peer
  }

  async #ask ({ id, multiaddrs }: PeerInfo, modelId: string, signal: AbortSignal | undefined): Promise<InspectedPeer> {
    const { libp2p } = this.#host
    const peer: InspectedPeer = { peerId: id.toString(), addresses: [...new Set(multiaddrs.map(String))] }
    try {
      await rememberAddresses(libp2p.peerStore, id, multiaddrs)
      using limit = within(limits.MANIFEST_FETCH_TIMEOUT_MS, signal)
      const { blocks, version, capacity, load, issuedAtMs, ...manifest } = await fetchManifest(libp2p, id, 0, limit.signal)
      const clockDifferenceMs = Date.now() - issuedAtMs
      if (manifest.modelId !== modelId) return { ...peer, failure: 'wrong-model' }
      const latency = new LatencyEstimate(() => performance.now())
      await libp2p.services.ping.ping(id, { signal: limit.signal }) // also pays for the path on both machines
      for (let i = 0; i < limits.INSPECT_PINGS; i++) latency.addRoundTrip(await libp2p.services.ping.ping(id, { signal: limit.signal }))
      const { roundTripMs: latencyMs, deviationMs } = latency
      return { ...peer, clockDifferenceMs, latencyMs, deviationMs, expectedMs: latency.expectedMs({ assignments: 1 }), manifest: { modelId, blocks, version, capacity, load, ageMs: Math.max(0, Date.now() - issuedAtMs) } }
    } catch (error) {
      return { ...peer, failure: asSwarmError(error)?.code ?? 'unreachable' }
    }
  }
}

/** The plan of each layer with all its experts, by what the pings say. */
function withPlan (peers: InspectedPeer[]): InspectedPeer[] {
  const blocks = peers.flatMap(({ manifest }) => manifest?.blocks ?? [])
  for (const layer of [...new Set(blocks.map(block => block.layer))].sort((a, b) => a - b)) {
    const held = blocks.filter(block => block.layer === layer)
    const experts = Math.max(...held.map(block => block.firstExpert + block.experts))
    const candidates = peers.flatMap(({ peerId, manifest, expectedMs }) => manifest == null || expectedMs == null ? [] : [{
      peerId, expectedMs, holds: new HostedExperts(manifest.blocks, experts).layer(layer) ?? new Uint8Array(experts)
    }])
    const needed = [...new Set(held.flatMap(block => Array.from({ length: block.experts }, (_, i) => block.firstExpert + i)))]
    for (const { peerId, reason } of planLayer(needed, candidates, () => 0).reasons) {
      const peer = peers.find(other => other.peerId === peerId)
      if (peer != null && reason !== 'holds-none') (peer.plan ??= []).push({ layer, reason })
    }
  }
  return peers
}

function parseTarget (target: string): CID | PeerId {
  for (const parse of [peerIdFromString, CID.parse.bind(CID)]) {
    try {
      return parse(target)
    } catch {
      // Not this kind.
    }
  }
  throw new SwarmError('bad-argument', `${JSON.stringify(target.slice(0, 80))} is neither a peer id nor a CID.`, { argument: 'target' })
}

/** Where the DHT places a key or a peer id: their sha256 (kad-dht's convertBuffer). */
function placeOf (multihash: Uint8Array): Uint8Array {
  return createHash('sha256').update(multihash).digest()
}

function sharedBits (a: Uint8Array, b: Uint8Array): number {
  const at = a.findIndex((byte, i) => byte !== b[i])
  return at < 0 ? a.length * 8 : at * 8 + Math.clz32(a[at] ^ b[at]) - 24
}

function hopOf (event: QueryEvent, atMs: number): Omit<LookupHop, 'sharedBits'> | undefined {
  switch (event.name) {
    case 'SEND_QUERY': return { atMs, kind: 'ask', peerId: event.to.toString(), path: event.path.index }
    case 'PEER_RESPONSE':
      return { atMs, kind: 'answer', peerId: event.from.toString(), path: event.path.index, closer: event.closer.map(({ id }) => id.toString()) }
    case 'FINAL_PEER': return { atMs, kind: 'found', peerId: event.from.toString(), path: event.path.index, peers: [plain(event.peer)] }
    case 'PROVIDER': return { atMs, kind: 'found', peerId: event.from.toString(), path: event.path.index, peers: event.providers.map(plain) }
    case 'QUERY_ERROR': return { atMs, kind: 'failed', peerId: event.from.toString(), path: event.path.index, error: event.error.name }
    case 'VALUE':
    case 'ADD_PEER':
    case 'DIAL_PEER':
    case 'PATH_ENDED': return undefined
  }
}

function plain ({ id, multiaddrs }: PeerInfo): { peerId: string, addresses: string[] } {
  return { peerId: id.toString(), addresses: [...new Set(multiaddrs.map(String))] }
}
