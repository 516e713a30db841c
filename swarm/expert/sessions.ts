import { EventEmitter } from 'node:events'
import type { Libp2p } from '@libp2p/interface'
import * as limits from '../constants.js'
import { within } from '../deadline.js'
import type { LivePeer, PeerDirectory } from '../directory/directory.js'
import { asSwarmError, SwarmError } from '../errors.js'
import type { OnSwarmEvent } from '../events.js'
import type { WireDtype } from '../interface.js'
import { ExpertClient } from './client.js'

export interface ExpertSessionsInit {
  libp2p: Pick<Libp2p, 'dialProtocol' | 'getConnections'>
  directory: PeerDirectory
  /** 64 hex digits. */
  modelId: string
  hiddenSize: number
  experts: number
  /** Of the streams; a request may have another form that its peer takes. */
  wire: WireDtype
  onEvent: OnSwarmEvent
}

/** A live peer with an open stream: what a request can be sent to at once. */
export interface Session {
  readonly peer: LivePeer
  readonly client: ExpertClient
  /** Whether the peer is reached over the loopback interface. */
  readonly onLoopback: boolean
}

interface Slot {
  client: ExpertClient | undefined
  onLoopback: boolean
  failures: number
  opening: boolean
  timer: NodeJS.Timeout | undefined
}

const LOOPBACK = /^\/ip4\/127\.|^\/ip6\/::1\//

/**
 * Keeps one expert stream open to each live peer of the directory, so that a request never waits for a handshake. A stream that
 * breaks is opened again with growing delay for as long as the peer is live. Emits 'change' when the usable sessions change.
 */
export class ExpertSessions extends EventEmitter<{ change: [] }> {
  readonly #init: ExpertSessionsInit
  readonly #slots = new Map<string, Slot>()
  readonly #stopped = new AbortController()

  constructor (init: ExpertSessionsInit) {
    super()
    this.#init = init
    init.directory.on('change', this.#reconcile)
    this.#reconcile()
  }

  /** Sessions with peers that hold any expert of the layer. */
  ofLayer (layer: number): Session[] {
    const sessions: Session[] = []
    for (const peer of this.#init.directory.live) {
      const slot = this.#slots.get(peer.peerId)
      if (slot?.client != null && !slot.client.closed && peer.hosted.layer(layer) != null) sessions.push({ peer, client: slot.client, onLoopback: slot.onLoopback })
    }
    return sessions
  }

  /** Returns at the next 'change', or after this time. Throws SwarmError 'aborted'. */
  async changeWithin (ms: number, signal?: AbortSignal): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const settle = (outcome: () => void): void => {
        clearTimeout(timer)
        this.off('change', onChange)
        signal?.removeEventListener('abort', onAbort)
        outcome()
      }
      const onChange = (): void => { settle(resolve) }
      const onAbort = (): void => { settle(() => { reject(new SwarmError('aborted', 'The wait was cancelled.', {})) }) }
      const timer = setTimeout(onChange, ms)
      this.on('change', onChange)
      signal?.addEventListener('abort', onAbort, { once: true })
      if (signal?.aborted === true) onAbort()
    })
  }

  async stop (): Promise<void> {
    this.#stopped.abort()
    this.#init.directory.off('change', this.#reconcile)
    const clients = [...this.#slots.values()].map(({ client, timer }) => {
      clearTimeout(timer)
      return client
    })
    this.#slots.clear()
    await Promise.all(clients.map(async client => { await client?.close() }))
  }

  readonly #reconcile = (): void => {
    const live = new Map(this.#init.directory.live.map(peer => [peer.peerId, peer]))
    for (const [peerId, slot] of this.#slots) {
      if (live.has(peerId)) continue
      clearTimeout(slot.timer)
      this.#slots.delete(peerId)
      void slot.client?.close()
    }
    for (const peer of live.values()) {
      if (this.#slots.has(peer.peerId)) continue
      const slot: Slot = { client: undefined, onLoopback: false, failures: 0, opening: false, timer: undefined }
      this.#slots.set(peer.peerId, slot)
      void this.#open(peer, slot)
    }
    this.emit('change')
  }

  async #open (peer: LivePeer, slot: Slot): Promise<void> {
    if (slot.opening || this.#slots.get(peer.peerId) !== slot) return
    slot.opening = true
    const { libp2p, modelId, hiddenSize, experts, wire, onEvent } = this.#init
    try {
      using limit = within(limits.HANDSHAKE_TIMEOUT_MS, this.#stopped.signal)
      const client = await ExpertClient.open({
        libp2p,
        peerId: peer.id,
        modelId,
        hiddenSize,
        experts,
        wire,
        onTraced: answer => { onEvent({ type: 'request-answered', peerId: peer.peerId, ...answer }) },
        signal: limit.signal,
        onClose: (_client, error) => { this.#closed(peer, slot, error) }
      })
      if (this.#slots.get(peer.peerId) !== slot) {
        await client.close()
        return
      }
      slot.client = client
      slot.onLoopback = libp2p.getConnections(peer.id).some(({ remoteAddr }) => LOOPBACK.test(remoteAddr.toString()))
      slot.failures = 0
      onEvent({ type: 'session-open', peerId: peer.peerId })
      this.emit('change')
    } catch (error) {
      if (this.#stopped.signal.aborted) return
      onEvent({ type: 'session-closed', peerId: peer.peerId, code: asSwarmError(error)?.code ?? 'unreachable' })
      this.#openLater(peer, slot)
    } finally {
      slot.opening = false
    }
  }

  #closed (peer: LivePeer, slot: Slot, error: SwarmError): void {
    slot.client = undefined
    if (this.#slots.get(peer.peerId) !== slot) return
    this.#init.onEvent({ type: 'session-closed', peerId: peer.peerId, code: error.code })
    this.#openLater(peer, slot)
    this.emit('change')
  }

  #openLater (peer: LivePeer, slot: Slot): void {
    const delayMs = Math.min(limits.SESSION_RETRY_MAX_MS, limits.SESSION_RETRY_MIN_MS * 2 ** slot.failures++)
    slot.timer = setTimeout(() => { void this.#open(peer, slot) }, delayMs)
  }
}
