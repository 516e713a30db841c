import type { Libp2p, PeerId, Stream } from '@libp2p/interface'
import * as limits from '../constants.js'
import { SwarmError } from '../errors.js'
import type { WireDtype } from '../interface.js'
import { decodePeerFrame, decodeReplyRows, encodeCancel, encodeRequest, replyBytes, requestBytes } from './codec.js'
import type { PeerFrame, RequestPart } from './codec.js'
import type { WireErrorCode } from './error-codes.js'
import { MAX_TRACE_BYTES, MAX_TRACE_LINKS, newRequestTrace, type RequestTrace } from '../trace-context.js'
import { FrameStream } from './frames.js'
import { decodeHelloReply, encodeHello, type Welcome } from './handshake.js'

/** A reply to a traced request. */
export interface TracedAnswer extends RequestTrace {
  layer: number
  tokens: number
  /** From the hand-over to the socket to the reply. */
  tookMs: number
  queueMicros: number
  serviceMicros: number
}

export interface ExpertClientInit {
  libp2p: Pick<Libp2p, 'dialProtocol'>
  peerId: PeerId
  /** 64 hex digits. */
  modelId: string
  hiddenSize: number
  experts: number
  wire: WireDtype
  signal: AbortSignal
  /** Called for each reply to a traced request. */
  onTraced?: (answer: TracedAnswer) => void
  /** Called once when the stream has ended after a successful `open`, for whatever reason. */
  onClose: (client: ExpertClient, error: SwarmError) => void
}

/** A peer's answer to one request, times in milliseconds of this machine's clock but for the peer's own two. */
export interface PartReply {
  /** [tokens, hidden size] */
  sum: Float32Array
  queueMicros: number
  serviceMicros: number
  encodeMs: number
  /** From the hand-over to the socket to the reply, less queue and service. */
  networkMs: number
  decodeMs: number
  /** Of request and reply. */
  bytes: number
  dtype: WireDtype
}

export interface RequestOptions {
  deadlineMs: number
  signal?: AbortSignal
  /** Form of both ways; one that the peer takes. @default that of the stream */
  dtype?: WireDtype
  /** Texts whose tokens it carries: they name the request here, and at a peer that takes such names. @default not traced */
  traceIds?: readonly string[]
}

/** A request that has been handed to the socket. */
export interface AskedPeer {
  reply: Promise<PartReply>
  /** The reply rejects with 'aborted', and the peer is told. Does nothing once it is there. */
  cancel: () => void
}

interface PendingRequest {
  dtype: WireDtype
  layer: number
  tokens: number
  trace?: RequestTrace
  encodeMs: number
  sentAt: number
  sentBytes: number
  resolve: (reply: PartReply) => void
  fail: (error: SwarmError) => void
  release: () => void
}

/** One peer's experts over one long-lived stream: requests and replies matched by id, in any order. Knows nothing of other peers or retries. */
export class ExpertClient {
  readonly peerId: string
  readonly #init: ExpertClientInit
  readonly #pending = new Map<number, PendingRequest>()
  readonly #frames: FrameStream
  #welcome: Welcome | undefined
  #greeted: ((outcome: Welcome | SwarmError) => void) | undefined
  #nextId = 1

  /**
   * Opens a stream and agrees on its limits. Throws SwarmError 'unreachable', 'peer-gone', 'malformed', 'timeout', 'aborted' or what
   * the peer refuses with: 'wrong-model', 'wrong-wire', 'busy'.
   */
  static async open (init: ExpertClientInit): Promise<ExpertClient> {
    const peerId = init.peerId.toString()
    let stream: Stream
    try {
      stream = await init.libp2p.dialProtocol(init.peerId, limits.EXPERTS_PROTOCOL, { signal: init.signal })
    } catch (error) {
      throw new SwarmError('unreachable', `Peer ${peerId} does not answer the expert protocol.`, { addresses: [peerId] }, { cause: error })
    }
    const client = new ExpertClient(init, stream)
    await client.#handshake()
    return client
  }

  private constructor (init: ExpertClientInit, stream: Stream) {
    this.#init = init
    this.peerId = init.peerId.toString()
    this.#frames = new FrameStream({
      stream,
      peerId: this.peerId,
      maxFrameBytes: limits.MAX_FRAME_BYTES,
      onFrame: frame => { this.#onFrame(frame) },
      onClose: error => { this.#onClose(error) }
    })
  }

  /** Limits and blocks that the peer stated at the start. */
  get welcome (): Welcome {
    if (this.#welcome == null) throw new Error('The handshake is not over.')
    return this.#welcome
  }

  get inFlight (): number {
    return this.#pending.size
  }

  get closed (): boolean {
    return this.#frames.closed
  }

  /** Whether a request of this size and its reply fit the agreed limits. */
  fits (tokens: number, assignments: number): boolean {
    const { hiddenSize, wire } = this.#init
    const bytes = Math.max(requestBytes(wire, tokens, assignments, hiddenSize) + MAX_TRACE_BYTES, replyBytes(wire, tokens, hiddenSize))
    return tokens <= this.welcome.maxTokens && bytes <= Math.min(this.welcome.maxFrameBytes, limits.MAX_FRAME_BYTES)
  }

  /** The reply of `ask`. */
  request (part: RequestPart, options: RequestOptions): Promise<PartReply> {
    return this.ask(part, options).reply
  }

  /**
   * Encodes and hands the request to the socket before it returns. The reply rejects with SwarmError 'peer-gone', 'timeout', 'aborted',
   * 'malformed' (the reply), or what the peer answers: 'busy', 'not-hosted', 'too-large', 'compute-failed', 'malformed' (the request).
   */
  ask (part: RequestPart, { deadlineMs, signal, dtype = this.#init.wire, traceIds }: RequestOptions): AskedPeer {
    if (this.closed) return refusedAtOnce(new SwarmError('peer-gone', `The connection to peer ${this.peerId} ended.`, { peerId: this.peerId }))
    if (signal?.aborted === true) return refusedAtOnce(aborted())
    if (this.#pending.size >= this.welcome.maxInFlight || this.#frames.backlogBytes > limits.MAX_WRITE_BACKLOG_BYTES) {
      return refusedAtOnce(new SwarmError('busy', `Peer ${this.peerId} has as many requests as it takes.`, { retryAfterMs: limits.BUSY_RETRY_MS }))
    }
    const id = this.#takeId()
    const startedAt = performance.now()
    const trace = newRequestTrace(traceIds)
    const framed = encodeRequest(id, dtype, part, this.#init.hiddenSize, this.#told(trace))
    const encodedAt = performance.now()
    const cancel = (): void => { this.#cancel(id, aborted()) }
    const reply = new Promise<PartReply>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#cancel(id, new SwarmError('timeout', `Peer ${this.peerId} did not answer within ${Math.round(deadlineMs)} ms.`, { afterMs: deadlineMs }))
      }, deadlineMs)
      signal?.addEventListener('abort', cancel, { once: true })
      const pending: PendingRequest = {
        dtype,
        layer: part.layer,
        tokens: part.tokens,
        trace,
        encodeMs: encodedAt - startedAt,
        sentAt: encodedAt,
        sentBytes: framed.byteLength,
        resolve,
        fail: reject,
        release: () => {
          clearTimeout(timer)
          signal?.removeEventListener('abort', cancel)
        }
      }
      this.#pending.set(id, pending)
      this.#frames.send(framed)
      pending.sentAt = performance.now()
    })
    return { reply, cancel }
  }

  /** Ends the stream; what is pending fails. */
  async close (): Promise<void> {
    await this.#frames.close(AbortSignal.timeout(limits.HANDSHAKE_TIMEOUT_MS))
  }

  async #handshake (): Promise<void> {
    const { signal, modelId, hiddenSize, experts, wire } = this.#init
    const outcome = new Promise<Welcome | SwarmError>(resolve => { this.#greeted = resolve })
    const timer = setTimeout(() => {
      this.#frames.abort(new SwarmError('timeout', `Peer ${this.peerId} did not welcome us within ${limits.HANDSHAKE_TIMEOUT_MS} ms.`, { afterMs: limits.HANDSHAKE_TIMEOUT_MS }))
    }, limits.HANDSHAKE_TIMEOUT_MS)
    const onAbort = (): void => { this.#frames.abort(aborted()) }
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      this.#frames.send(encodeHello({ modelId, hiddenSize, experts, wire, maxFrameBytes: limits.MAX_FRAME_BYTES }))
      const welcome = await outcome
      if (welcome instanceof SwarmError) {
        this.#frames.abort(welcome)
        throw welcome
      }
      this.#welcome = welcome
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
  }

  #onFrame (bytes: Uint8Array): void {
    if (this.#greeted != null) {
      const greeted = this.#greeted
      const reply = decodeHelloReply(bytes, this.#init.experts)
      this.#greeted = undefined
      greeted('code' in reply ? this.#refused(reply.code, reply.retryAfterMs) : reply)
      return
    }
    const arrivedAt = performance.now()
    const frame = decodePeerFrame(bytes)
    const pending = this.#pending.get(frame.id)
    if (pending == null) return // an answer to what was cancelled or timed out, or never asked
    if (frame.kind === 'reply') {
      this.#resolve(frame, pending, arrivedAt)
    } else {
      this.#settle(frame.id, pending)
      pending.fail(this.#refused(frame.code, frame.retryAfterMs))
    }
  }

  #resolve (frame: PeerFrame & { kind: 'reply' }, pending: PendingRequest, arrivedAt: number): void {
    const sum = decodeReplyRows(frame, pending.dtype, pending.tokens, this.#init.hiddenSize)
    this.#settle(frame.id, pending)
    const { queueMicros, serviceMicros } = frame
    const { trace, layer, tokens } = pending
    if (trace != null) this.#init.onTraced?.({ ...trace, layer, tokens, tookMs: arrivedAt - pending.sentAt, queueMicros, serviceMicros })
    pending.resolve({
      sum,
      queueMicros,
      serviceMicros,
      encodeMs: pending.encodeMs,
      // A peer that overstates its own times must not make the network look faster than nothing.
      networkMs: Math.max(0, arrivedAt - pending.sentAt - (queueMicros + serviceMicros) / 1_000),
      decodeMs: performance.now() - arrivedAt,
      bytes: pending.sentBytes + frame.frame.byteLength,
      dtype: pending.dtype
    })
  }

  #cancel (id: number, error: SwarmError): void {
    const pending = this.#pending.get(id)
    if (pending == null) return
    this.#settle(id, pending)
    this.#frames.send(encodeCancel(id))
    pending.fail(error)
  }

  #settle (id: number, pending: PendingRequest): void {
    this.#pending.delete(id)
    pending.release()
  }

  #onClose (error: SwarmError): void {
    this.#greeted?.(error)
    this.#greeted = undefined
    for (const [id, pending] of this.#pending) {
      this.#settle(id, pending)
      pending.fail(error)
    }
    if (this.#welcome != null) this.#init.onClose(this, error)
  }

  #refused (code: WireErrorCode, retryAfterMs: number): SwarmError {
    const peer = `Peer ${this.peerId}`
    switch (code) {
      case 'busy': return new SwarmError(code, `${peer} is busy.`, { retryAfterMs: Math.min(retryAfterMs, limits.MAX_RETRY_AFTER_MS) })
      case 'not-hosted': return new SwarmError(code, `${peer} does not host the experts asked for.`, {})
      case 'malformed': return new SwarmError(code, `${peer} cannot read our request.`, { reason: 'refused by the peer' })
      case 'too-large': return new SwarmError(code, `${peer} takes smaller requests only.`, { limit: this.#welcome?.maxTokens ?? 0 })
      case 'wrong-model': return new SwarmError(code, `${peer} serves another model.`, { modelId: this.#init.modelId })
      case 'wrong-wire': return new SwarmError(code, `${peer} does not take ${this.#init.wire} on the wire.`, { wire: this.#init.wire })
      case 'compute-failed': return new SwarmError(code, `${peer} failed to compute.`, {})
    }
  }

  /** What the peer is told of a trace. */
  #told (trace: RequestTrace | undefined): RequestTrace | undefined {
    if (!this.welcome.traces || trace?.links == null) return this.welcome.traces ? trace : undefined
    return { ...trace, links: trace.links.slice(0, Math.min(MAX_TRACE_LINKS, this.welcome.traceLinks)) }
  }

  /** Ids wrap after 2^32 requests and skip those in flight. */
  #takeId (): number {
    do {
      this.#nextId = this.#nextId >= 0xffffffff ? 1 : this.#nextId + 1
    } while (this.#pending.has(this.#nextId))
    return this.#nextId
  }
}

function refusedAtOnce (error: SwarmError): AskedPeer {
  return { reply: Promise.reject(error), cancel: () => {} }
}

function aborted (): SwarmError<'aborted'> {
  return new SwarmError('aborted', 'The request was cancelled.', {})
}
