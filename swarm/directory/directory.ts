import { EventEmitter } from 'node:events'
import type { Libp2p, PeerId, PeerInfo } from '@libp2p/interface'
import * as limits from '../constants.js'
import { within } from '../deadline.js'
import { layerKey, modelKey } from '../dht/keys.js'
import { rememberAddresses } from '../dht/addresses.js'
import { findProviders } from '../dht/providers.js'
import { asSwarmError, isSwarmError, type SwarmError } from '../errors.js'
import type { OnSwarmEvent, PeerLossReason } from '../events.js'
import { HostedExperts } from '../expert/hosted.js'
import type { SwarmServices } from '../host.js'
import type { WireDtype } from '../interface.js'
import { LatencyEstimate } from '../selection/latency.js'
import type { PeerManifest } from './manifest.js'
import { watchNeighbours } from './neighbours.js'
import { probe } from './probe.js'
import { redundantPeer } from './redundancy.js'

export interface PeerDirectoryInit {
  libp2p: Libp2p<SwarmServices>
  /** 64 hex digits. */
  modelId: string
  experts: number
  /** The layers that this client needs: a full directory keeps who covers them. */
  layers: number[]
  wire: WireDtype
  manifestIntervalMs: number
  maxLivePeers: number
  /** When a peer that could not be used is tried again, doubling from the first to the last. @default PEER_RETRY_MIN_MS to PEER_RETRY_MAX_MS */
  retryMs?: readonly [number, number]
  /** Peers that are never asked. */
  excluded?: Iterable<string>
  onEvent: OnSwarmEvent
}

/** A peer that serves the model and has proved lately that it lives. */
export interface LivePeer {
  readonly peerId: string
  readonly id: PeerId
  readonly manifest: PeerManifest
  readonly hosted: HostedExperts
  readonly latency: LatencyEstimate
}

/** What is remembered of a peer, live or not. */
interface KnownPeer {
  readonly id: PeerId
  readonly latency: LatencyEstimate
  live: LivePeer | undefined
  /** Replays of older manifests are refused for as long as the peer is remembered. */
  sequence: number
  misses: number
  failures: number
  /** No attempt before this, on the clock of performance.now. */
  retryAt: number
  timer: NodeJS.Timeout | undefined
  probing: boolean
}

/**
 * The live peers of one model: found through the DHT, proved by their manifests, dropped after two missed ones or when the connection ends.
 * Holds at most `maxLivePeers`, however large the swarm; when it is full, a new peer takes the place of a redundant one only if it
 * holds experts that nobody else does. Remembers at most MAX_REMEMBERED_PEERS. Emits 'change' when peers or their blocks change.
 */
export class PeerDirectory extends EventEmitter<{ change: [] }> {
  readonly #init: PeerDirectoryInit
  readonly #known = new Map<string, KnownPeer>()
  readonly #excluded: Set<string>
  readonly #stopped = new AbortController()
  #unwatch: (() => void) | undefined
  #searchTimer: NodeJS.Timeout | undefined
  #searchIntervalMs = limits.SEARCH_INTERVAL_MIN_MS
  #searching: Promise<void> | undefined
  #probes = 0

  constructor (init: PeerDirectoryInit) {
    super()
    this.#init = init
    this.#excluded = new Set(init.excluded)
  }

  async start (): Promise<void> {
    const { libp2p } = this.#init
    libp2p.addEventListener('peer:disconnect', this.#onDisconnect)
    this.#unwatch = await watchNeighbours(libp2p, limits.MANIFEST_PROTOCOL, peer => { this.#consider(peer) })
    this.#searchSoon(0)
  }

  stop (): void {
    this.#stopped.abort()
    clearTimeout(this.#searchTimer)
    for (const { timer } of this.#known.values()) clearTimeout(timer)
    this.#init.libp2p.removeEventListener('peer:disconnect', this.#onDisconnect)
    this.#unwatch?.()
  }

  get live (): LivePeer[] {
    const peers: LivePeer[] = []
    for (const { live } of this.#known.values()) {
      if (live != null) peers.push(live)
    }
    return peers
  }

  /** From here on the peer is not asked anything any more. */
  exclude (peerId: string): void {
    this.#excluded.add(peerId)
    const known = this.#known.get(peerId)
    if (known == null) return
    clearTimeout(known.timer)
    this.#known.delete(peerId)
    if (known.live != null) this.#drop(known, 'lied')
  }

  /**
   * Tries the peers that failed at once, and searches, for a layer's own key too; what fails now is tried again as soon as after a first failure. Returns when the
   * search has ended.
   */
  async refresh (layer?: number): Promise<void> {
    for (const known of this.#known.values()) {
      if (known.live != null) continue
      known.retryAt = 0
      // Who was given up is tried when the search names it.
      if (known.failures > limits.PEER_RETRIES) continue
      known.failures = 0
      void this.#probe(known)
    }
    this.#searchIntervalMs = limits.SEARCH_INTERVAL_MIN_MS
    this.#searchSoon(this.#searchIntervalMs)
    await Promise.all([this.#search(), ...(layer == null ? [] : [this.#searchKey(layerKey(this.#init.modelId, layer))])])
  }

  readonly #onDisconnect = ({ detail }: CustomEvent<PeerId>): void => {
    const known = this.#known.get(detail.toString())
    if (known?.live == null) return
    this.#drop(known, 'disconnected')
    this.#retryLater(known)
  }

  #searchSoon (delayMs: number): void {
    if (this.#stopped.signal.aborted) return
    clearTimeout(this.#searchTimer)
    this.#searchTimer = setTimeout(() => {
      const before = this.#known.size
      void this.#search().then(() => {
        this.#searchIntervalMs = this.#known.size > before
          ? limits.SEARCH_INTERVAL_MIN_MS
          : Math.min(limits.SEARCH_INTERVAL_MAX_MS, this.#searchIntervalMs * 2)
        this.#searchSoon(this.#searchIntervalMs)
      })
    }, delayMs).unref()
  }

  async #search (): Promise<void> {
    this.#searching ??= this.#searchKey(modelKey(this.#init.modelId)).finally(() => { this.#searching = undefined })
    await this.#searching
  }

  async #searchKey (key: ReturnType<typeof modelKey>): Promise<void> {
    using limit = within(limits.DHT_QUERY_TIMEOUT_MS, this.#stopped.signal)
    try {
      for await (const provider of findProviders(this.#init.libp2p.services.dht, key, limit.signal)) await this.#found(provider)
    } catch {
      // A query that fails found what it found; the next one is due anyway.
    }
  }

  async #found ({ id, multiaddrs }: PeerInfo): Promise<void> {
    if (id.equals(this.#init.libp2p.peerId)) return
    await rememberAddresses(this.#init.libp2p.peerStore, id, multiaddrs)
    this.#consider(id)
  }

  #consider (id: PeerId): void {
    const peerId = id.toString()
    if (this.#excluded.has(peerId)) return
    let known = this.#known.get(peerId)
    if (known == null) {
      if (this.#known.size >= limits.MAX_REMEMBERED_PEERS && !this.#forgetOne()) return
      known = {
        id, latency: new LatencyEstimate(() => performance.now()), live: undefined, sequence: 0, misses: 0, failures: 0, retryAt: 0, timer: undefined, probing: false
      }
      this.#known.set(peerId, known)
    }
    if (known.live == null && known.retryAt <= performance.now()) void this.#probe(known)
  }

  /** Of the peers that are not live, the one remembered longest. */
  #forgetOne (): boolean {
    for (const [peerId, known] of this.#known) {
      if (known.live != null || known.probing) continue
      clearTimeout(known.timer)
      return this.#known.delete(peerId)
    }
    return false
  }

  async #probe (known: KnownPeer): Promise<void> {
    if (known.probing || this.#stopped.signal.aborted) return
    if (known.live == null && this.#probes >= limits.PROBE_PARALLEL) return this.#probeLater(known, limits.PEER_RETRY_MIN_MS)
    clearTimeout(known.timer)
    known.probing = true
    this.#probes++
    try {
      const manifest = await probe(this.#init, known, this.#stopped.signal)
      if (this.#wanted(known)) this.#answered(known, manifest)
    } catch (error) {
      if (this.#wanted(known)) this.#missed(known, asSwarmError(error))
    } finally {
      known.probing = false
      this.#probes--
    }
  }

  #wanted (known: KnownPeer): boolean {
    return !this.#stopped.signal.aborted && !this.#excluded.has(known.id.toString())
  }

  #answered (known: KnownPeer, manifest: PeerManifest): void {
    known.sequence = manifest.sequence
    known.misses = 0
    known.failures = 0
    const before = known.live
    const sameBlocks = before != null && JSON.stringify(before.manifest.blocks) === JSON.stringify(manifest.blocks)
    const peer: LivePeer = {
      peerId: known.id.toString(),
      id: known.id,
      manifest,
      hosted: sameBlocks ? before.hosted : new HostedExperts(manifest.blocks, this.#init.experts),
      latency: known.latency
    }
    if (before == null && !this.#makeRoom(peer)) return this.#probeLater(known, limits.PEER_RETRY_MAX_MS)
    known.live = peer
    // It hosts nothing at the moment, as while its worker is started again: clients may wait for it.
    this.#probeLater(known, manifest.blocks.length === 0 ? Math.min(limits.PEER_RETRY_MIN_MS, this.#init.manifestIntervalMs) : this.#init.manifestIntervalMs)
    if (before == null) this.#init.onEvent({ type: 'peer-live', peerId: peer.peerId, latencyMs: known.latency.roundTripMs })
    if (!sameBlocks) this.emit('change')
  }

  #makeRoom (peer: LivePeer): boolean {
    const live = this.live
    if (live.length < this.#init.maxLivePeers) return true
    const displaced = redundantPeer(live, peer, this.#init.layers)
    if (displaced == null) return false
    const known = this.#known.get(displaced.peerId)
    if (known != null) {
      this.#drop(known, 'displaced')
      known.retryAt = performance.now() + limits.PEER_RETRY_MAX_MS
    }
    return true
  }

  #missed (known: KnownPeer, error: SwarmError | undefined): void {
    const refused = error != null && !isSwarmError(error, 'unreachable') && !isSwarmError(error, 'aborted')
    if (refused) this.#init.onEvent({ type: 'peer-refused', peerId: known.id.toString(), code: error.code })
    if (known.live != null) {
      known.misses++
      if (!refused && known.misses < limits.MANIFEST_MISSES) return this.#probeLater(known, this.#init.manifestIntervalMs)
      this.#drop(known, refused ? 'untrusted-manifest' : 'missed-manifests')
    }
    // What a peer says will hardly change by asking again soon; that it does not answer may.
    if (refused) known.failures = Math.max(known.failures, Math.log2(limits.PEER_RETRY_MAX_MS / limits.PEER_RETRY_MIN_MS))
    this.#retryLater(known)
  }

  #drop (known: KnownPeer, reason: PeerLossReason): void {
    known.live = undefined
    known.misses = 0
    this.#searchIntervalMs = limits.SEARCH_INTERVAL_MIN_MS
    this.#init.onEvent({ type: 'peer-lost', peerId: known.id.toString(), reason })
    this.emit('change')
    this.#searchSoon(this.#searchIntervalMs)
  }

  #retryLater (known: KnownPeer): void {
    const [firstMs, lastMs] = this.#init.retryMs ?? [limits.PEER_RETRY_MIN_MS, limits.PEER_RETRY_MAX_MS]
    const delayMs = Math.min(lastMs, firstMs * 2 ** known.failures)
    known.failures++
    known.retryAt = performance.now() + delayMs
    // A record that outlives its peer must not have it dialled for ever.
    if (known.failures <= limits.PEER_RETRIES) this.#probeLater(known, delayMs)
  }

  #probeLater (known: KnownPeer, delayMs: number): void {
    if (this.#stopped.signal.aborted) return
    clearTimeout(known.timer)
    known.timer = setTimeout(() => { void this.#probe(known) }, delayMs).unref()
  }
}
