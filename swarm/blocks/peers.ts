import type { Libp2p, PeerId, PeerInfo } from '@libp2p/interface'
import * as limits from '../constants.js'
import { within } from '../deadline.js'
import { watchNeighbours } from '../directory/neighbours.js'
import { blocksKey } from '../dht/keys.js'
import { rememberAddresses } from '../dht/addresses.js'
import { findProviders } from '../dht/providers.js'
import { asSwarmError, isSwarmError, SwarmError } from '../errors.js'
import type { OnSwarmEvent } from '../events.js'
import type { SwarmServices } from '../host.js'
import { BlockClient } from './client.js'

export interface BlockPeersInit {
  libp2p: Libp2p<SwarmServices>
  /** 64 hex digits. */
  modelId: string
  /** Digests that are still to be had. */
  wanted: () => string[]
  /** Whether a content of this digest can have this size; a peer that says otherwise does not have it. */
  fits: (sha256: string, bytes: number) => boolean
  /** Ids of peers that have sent wrong bytes: never asked again. `refuse` adds to it. */
  refused: Set<string>
  /** Called when a peer has joined, has more than before, or has left. */
  onChange: () => void
  onEvent: OnSwarmEvent
}

/** A peer with an open stream that has some of what is wanted. */
export interface BlockPeer {
  readonly peerId: string
  readonly client: BlockClient
  /** Digest -> size. */
  readonly holds: Map<string, number>
}

interface Candidate {
  readonly id: PeerId
  failures: number
  /** No attempt before this, on the clock of performance.now. */
  retryAt: number
  opening: boolean
  peer: BlockPeer | undefined
}

/**
 * The peers that have what is wanted, at most BLOCKS_MAX_PEERS at a time: found through the DHT or among the neighbours, asked what they have,
 * and asked again every BLOCKS_POLL_MS, since they may be fetching themselves. Remembers at most MAX_REMEMBERED_PEERS.
 */
export class BlockPeers {
  readonly #init: BlockPeersInit
  readonly #candidates = new Map<string, Candidate>()
  /** Of peers that have joined, and of those that are being asked. */
  readonly #clients = new Set<BlockClient>()
  readonly #stopped = new AbortController()
  #unwatch: (() => void) | undefined
  #pollTimer: NodeJS.Timeout | undefined
  #searchTimer: NodeJS.Timeout | undefined
  #searchIntervalMs = limits.SEARCH_INTERVAL_MIN_MS

  constructor (init: BlockPeersInit) {
    this.#init = init
  }

  async start (): Promise<void> {
    this.#pollTimer = setInterval(() => { this.#poll() }, limits.BLOCKS_POLL_MS)
    void this.#search()
    const unwatch = await watchNeighbours(this.#init.libp2p, limits.BLOCKS_PROTOCOL, id => { this.#consider(id) })
    if (this.#stopped.signal.aborted) unwatch()
    else this.#unwatch = unwatch
  }

  async stop (): Promise<void> {
    this.#stopped.abort()
    clearInterval(this.#pollTimer)
    clearTimeout(this.#searchTimer)
    this.#unwatch?.()
    await Promise.all([...this.#clients].map(async client => { await client.close() }))
  }

  get open (): BlockPeer[] {
    return [...this.#candidates.values()].flatMap(({ peer }) => peer ?? [])
  }

  /** Leaves a peer for good: it sent bytes that do not have the digest that they were asked for by. */
  refuse (peer: BlockPeer, sha256: string): void {
    this.#init.refused.add(peer.peerId)
    peer.client.abort(new SwarmError('wrong-hash', `Peer ${peer.peerId} sent wrong bytes.`, { sha256 }))
  }

  async #search (): Promise<void> {
    const { libp2p, modelId } = this.#init
    const before = this.#candidates.size
    try {
      using limit = within(limits.DHT_QUERY_TIMEOUT_MS, this.#stopped.signal)
      for await (const provider of findProviders(libp2p.services.dht, blocksKey(modelId), limit.signal)) await this.#found(provider)
    } catch {
      // A query that fails found what it found; the next one is due anyway.
    }
    if (this.#stopped.signal.aborted) return
    this.#searchIntervalMs = this.#candidates.size > before ? limits.SEARCH_INTERVAL_MIN_MS : Math.min(limits.SEARCH_INTERVAL_MAX_MS, this.#searchIntervalMs * 2)
    this.#searchTimer = setTimeout(() => { void this.#search() }, this.#searchIntervalMs)
  }

  async #found ({ id, multiaddrs }: PeerInfo): Promise<void> {
    const { libp2p } = this.#init
    if (id.equals(libp2p.peerId)) return
    await rememberAddresses(libp2p.peerStore, id, multiaddrs)
    this.#consider(id)
  }

  #consider (id: PeerId): void {
    const peerId = id.toString()
    if (this.#candidates.has(peerId) || this.#candidates.size >= limits.MAX_REMEMBERED_PEERS) return
    this.#candidates.set(peerId, { id, failures: 0, retryAt: 0, opening: false, peer: undefined })
    this.#fill()
  }

  /** Opens streams to those who failed least, as many as there is room for. */
  #fill (): void {
    if (this.#stopped.signal.aborted) return
    const all = [...this.#candidates.values()]
    const room = limits.BLOCKS_MAX_PEERS - all.filter(({ peer, opening }) => peer != null || opening).length
    const now = performance.now()
    all.filter(({ id, peer, opening, retryAt }) => peer == null && !opening && retryAt <= now && !this.#init.refused.has(id.toString()))
      .sort((a, b) => a.failures - b.failures)
      .slice(0, room)
      .forEach(candidate => { void this.#open(candidate) })
  }

  async #open (candidate: Candidate): Promise<void> {
    candidate.opening = true
    const { libp2p, onEvent, onChange } = this.#init
    const peerId = candidate.id.toString()
    let client: BlockClient | undefined
    try {
      using limit = within(limits.DIAL_TIMEOUT_MS, this.#stopped.signal)
      client = await BlockClient.open({
        libp2p,
        peerId: candidate.id,
        signal: limit.signal,
        onClose: error => {
          if (client != null) this.#clients.delete(client)
          this.#closed(candidate, error)
        }
      })
      this.#clients.add(client)
      const peer: BlockPeer = { peerId, client, holds: new Map() }
      await this.#ask(peer)
      if (this.#stopped.signal.aborted || client.closed || peer.holds.size === 0) {
        await client.close()
        // It may be fetching too.
        candidate.retryAt = performance.now() + limits.BLOCKS_POLL_MS
        return
      }
      candidate.peer = peer
      candidate.failures = 0
      onEvent({ type: 'blocks-peer-joined', peerId, files: peer.holds.size })
      onChange()
    } catch (error) {
      await client?.close()
      this.#retryLater(candidate, asSwarmError(error))
    } finally {
      candidate.opening = false
    }
  }

  /** Of what is wanted, what the peer was not known to have. */
  async #ask (peer: BlockPeer): Promise<boolean> {
    const digests = this.#init.wanted().filter(digest => !peer.holds.has(digest))
    if (digests.length === 0) return false
    const sizes = await peer.client.sizes(digests)
    const before = peer.holds.size
    digests.forEach((digest, at) => {
      const bytes = sizes[at]
      if (bytes != null && this.#init.fits(digest, bytes)) peer.holds.set(digest, bytes)
    })
    return peer.holds.size > before
  }

  #poll (): void {
    for (const { peer } of this.#candidates.values()) {
      if (peer != null) void this.#askAgain(peer)
    }
    this.#fill()
  }

  /** Closes a peer that has nothing more for us, in favour of others. */
  async #askAgain (peer: BlockPeer): Promise<void> {
    try {
      if (await this.#ask(peer)) this.#init.onChange()
      if (peer.client.reads === 0 && !this.#init.wanted().some(digest => peer.holds.has(digest))) await peer.client.close()
    } catch {
      // The stream has ended, and with it the peer.
    }
  }

  #closed (candidate: Candidate, error: SwarmError): void {
    const { peer } = candidate
    if (peer == null) return
    candidate.peer = undefined
    if (this.#stopped.signal.aborted) return
    this.#init.onEvent({ type: 'blocks-peer-left', peerId: peer.peerId, code: error.code })
    this.#retryLater(candidate, error)
    this.#init.onChange()
  }

  #retryLater (candidate: Candidate, error: SwarmError | undefined): void {
    const delayMs = error != null && isSwarmError(error, 'busy')
      ? error.data.retryAfterMs
      : Math.min(limits.PEER_RETRY_MAX_MS, limits.PEER_RETRY_MIN_MS * 2 ** candidate.failures)
    candidate.failures++
    candidate.retryAt = performance.now() + delayMs
  }
}
