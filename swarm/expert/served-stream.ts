import type { Stream } from '@libp2p/interface'
import * as constants from '../constants.js'
import { asSwarmError, isSwarmError, SwarmError } from '../errors.js'
import type { ExpertBatch, WireDtype } from '../interface.js'
import { decodeClientFrame, encodeError, encodeReply, isRequest, readFrameId, replyBytes } from './codec.js'
import { isWireCode, type WireErrorCode } from './error-codes.js'
import { MAX_TRACE_LINKS, type RequestTrace } from '../trace-context.js'
import { FrameStream } from './frames.js'
import { decodeHello, encodeRefusal, encodeWelcome, type Hello, type Refusal } from './handshake.js'
import { allFinite } from './rows.js'
import type { ClientUse, ServiceState } from './service.js'

/**
 * Memory that a request may take for each byte of its frame, until its reply has left: int8 rows become fp32 rows, and so many again
 * for the sum.
 */
const BYTES_PER_FRAME_BYTE = 8

/** What a reader must take while something waits for it: 64 kbit/s. */
const MIN_READ_BYTES_PER_MS = 8

/** One client's stream on a peer. Whatever the client sends, it costs no more than the limits and ends no more than this stream. */
export class ServedStream {
  readonly #state: ServiceState
  readonly #use: ClientUse
  readonly #peerId: string
  readonly #frames: FrameStream
  readonly #running = new Map<number, AbortController>()
  readonly #helloTimer: NodeJS.Timeout
  #hello: Hello | undefined
  #sentBytes = 0
  /** Since when something waits for the reader, and what it had taken then. */
  #waiting: { sinceMs: number, takenBytes: number } | undefined

  constructor (state: ServiceState, use: ClientUse, stream: Stream, peerId: string, onClose: () => void) {
    this.#state = state
    this.#use = use
    this.#peerId = peerId
    const { handshakeTimeoutMs, maxFrameBytes } = state.limits
    this.#helloTimer = setTimeout(() => {
      state.counters.silent++
      this.#frames.abort(new SwarmError('timeout', 'A client opened a stream and said nothing.', { afterMs: handshakeTimeoutMs }))
    }, handshakeTimeoutMs)
    this.#frames = new FrameStream({
      stream,
      peerId,
      maxFrameBytes,
      watchPartial: true,
      onFrame: frame => { this.#onFrame(frame) },
      onClose: error => {
        clearTimeout(this.#helloTimer)
        for (const controller of this.#running.values()) controller.abort()
        this.#running.clear()
        if (error.code === 'malformed') state.counters.malformed++
        if (error.code !== 'peer-gone') state.init.onEvent({ type: 'stream-aborted', peerId, code: error.code })
        onClose()
      }
    })
  }

  async close (signal: AbortSignal): Promise<void> {
    await this.#frames.close(signal)
  }

  get partialBytes (): number {
    return this.#frames.partialBytes
  }

  get backlogBytes (): number {
    return this.#frames.backlogBytes
  }

  /** Ends the stream of a client that keeps a frame incomplete, or hardly takes its replies. */
  checkSpeed (nowMs: number): void {
    const { frameTimeoutMs } = this.#state.limits
    if (this.partialBytes > 0 && nowMs - this.#frames.partialSinceMs > frameTimeoutMs) return this.cutSlowWriter()
    const takenBytes = this.#sentBytes - this.backlogBytes
    if (this.backlogBytes === 0) {
      this.#waiting = undefined
    } else if (this.#waiting == null) {
      this.#waiting = { sinceMs: nowMs, takenBytes }
    } else if (nowMs - this.#waiting.sinceMs > frameTimeoutMs) {
      if (takenBytes - this.#waiting.takenBytes < (nowMs - this.#waiting.sinceMs) * MIN_READ_BYTES_PER_MS) return this.cutSlowReader()
      this.#waiting = { sinceMs: nowMs, takenBytes }
    }
  }

  cutSlowWriter (): void {
    this.#state.counters.slowWriters++
    this.#frames.abort(new SwarmError('timeout', 'A client does not complete a frame.', { afterMs: this.#state.limits.frameTimeoutMs }))
  }

  cutSlowReader (): void {
    this.#state.counters.slowReaders++
    this.#frames.abort(new SwarmError('too-large', 'A client does not read its replies.', { limit: this.#state.limits.maxBacklogBytesPerStream }))
  }

  #send (framed: Uint8Array): void {
    this.#sentBytes += framed.byteLength
    this.#frames.send(framed)
  }

  #onFrame (frame: Uint8Array): void {
    if (this.#hello == null) {
      this.#greet(decodeHello(frame))
    } else if (isRequest(frame)) {
      this.#onRequest(frame, this.#hello)
    } else {
      this.#onOther(frame)
    }
  }

  #greet (hello: Hello): void {
    clearTimeout(this.#helloTimer)
    const refusal = this.#refusal(hello)
    if (refusal != null) {
      this.#state.init.onEvent({ type: 'request-refused', peerId: this.#peerId, code: refusal.code })
      this.#send(encodeRefusal(refusal))
      void this.#frames.close(AbortSignal.timeout(this.#state.limits.handshakeTimeoutMs))
      return
    }
    this.#hello = hello
    const { maxFrameBytes, maxRequestTokens, maxRequestsPerPeer } = this.#state.limits
    this.#send(encodeWelcome({
      maxFrameBytes: Math.min(hello.maxFrameBytes, maxFrameBytes),
      maxTokens: maxRequestTokens,
      maxInFlight: maxRequestsPerPeer,
      traces: true,
      traceLinks: MAX_TRACE_LINKS,
      blocks: [...this.#state.hosted.blocks]
    }))
  }

  #refusal (hello: Hello): Refusal | undefined {
    const { modelId, hiddenSize, experts, wires } = this.#state.init
    if (this.#state.draining) return { code: 'busy', retryAfterMs: constants.MAX_RETRY_AFTER_MS }
    if (hello.modelId !== modelId || hello.hiddenSize !== hiddenSize || hello.experts !== experts) return { code: 'wrong-model', retryAfterMs: 0 }
    if (!wires.includes(hello.wire)) return { code: 'wrong-wire', retryAfterMs: 0 }
    return undefined
  }

  #onRequest (frame: Uint8Array, hello: Hello): void {
    const id = readFrameId(frame)
    if (id == null) throw new SwarmError('malformed', 'The other side sent a frame shorter than a header.', { reason: 'short frame' })
    const cost = frame.byteLength * BYTES_PER_FRAME_BYTE
    const state = this.#state
    state.counters.receivedBytes += frame.byteLength
    const use = this.#use
    if (!this.#inTime()) return this.#refuse(id, 'busy', constants.BUSY_RETRY_MS)
    if (state.draining) return this.#refuse(id, 'busy', constants.MAX_RETRY_AFTER_MS)
    const { maxRequestsPerPeer, maxRequests, maxBytesInFlightPerPeer, maxBytesInFlight } = state.limits
    if (use.requests >= maxRequestsPerPeer || state.requestsInFlight >= maxRequests || use.bytes + cost > maxBytesInFlightPerPeer || state.bytesInFlight + cost > maxBytesInFlight) {
      return this.#refuse(id, 'busy', constants.BUSY_RETRY_MS)
    }
    if (this.#running.has(id)) throw new SwarmError('malformed', 'The other side used a request id twice.', { reason: 'duplicate id' })

    const decoded = this.#decode(frame, id)
    if (decoded == null) return
    const { dtype, batch, trace } = decoded
    if (!state.init.wires.includes(dtype)) return this.#refuse(id, 'wrong-wire')
    if (replyBytes(dtype, batch.tokens, state.init.hiddenSize) > hello.maxFrameBytes) return this.#refuse(id, 'too-large')
    if (!state.hosted.holdsAll(batch)) return this.#refuse(id, 'not-hosted')

    const controller = new AbortController()
    this.#running.set(id, controller)
    state.requestsInFlight++
    state.bytesInFlight += cost
    use.requests++
    use.bytes += cost
    void this.#serve(id, dtype, batch, trace, controller).finally(() => {
      if (this.#running.get(id) === controller) this.#running.delete(id)
      state.requestsInFlight--
      state.bytesInFlight -= cost
      use.requests--
      use.bytes -= cost
      if (state.requestsInFlight === 0) state.onIdle()
    })
  }

  /** Whether a request keeps to the rate. Throws SwarmError 'busy', which ends the stream, when the client does not heed that it is refused. */
  #inTime (): boolean {
    const { rate, patience, counters } = this.#state
    const now = performance.now()
    this.#use.servedAtMs = now
    if (rate.take(this.#use.rate, 1, now)) return true
    counters.rateLimited++
    if (patience.take(this.#use.patience, 1, now)) return false
    counters.tooFast++
    throw new SwarmError('busy', 'A client sends requests much faster than it may.', { retryAfterMs: constants.MAX_RETRY_AFTER_MS })
  }

  /** A request above a limit is refused alone; one that breaks the protocol is refused and ends the stream. */
  #decode (frame: Uint8Array, id: number): { dtype: WireDtype, batch: ExpertBatch, trace?: RequestTrace } | undefined {
    const { hiddenSize, experts, layers } = this.#state.init
    try {
      const request = decodeClientFrame(frame, { hiddenSize, experts, layers, maxTokens: this.#state.limits.maxRequestTokens })
      return request.kind === 'request' ? request : undefined
    } catch (error) {
      const code = wireCodeOf(error) ?? 'malformed'
      this.#refuse(id, code)
      if (code !== 'too-large') throw error
      return undefined
    }
  }

  #onOther (frame: Uint8Array): void {
    this.#inTime()
    const { hiddenSize, experts, layers } = this.#state.init
    const { kind, id } = decodeClientFrame(frame, { hiddenSize, experts, layers, maxTokens: this.#state.limits.maxRequestTokens })
    // It goes on counting as in flight until compute lets go of it: cancelling is no way around the limit.
    if (kind === 'cancel') this.#running.get(id)?.abort()
  }

  async #serve (id: number, dtype: WireDtype, batch: ExpertBatch, trace: RequestTrace | undefined, controller: AbortController): Promise<void> {
    const { compute, hiddenSize } = this.#state.init
    const { counters } = this.#state
    let answer: Uint8Array
    try {
      const { sum, queueMicros, serviceMicros } = await compute.compute(batch, controller.signal)
      if (sum.length !== batch.tokens * hiddenSize || !allFinite(sum)) throw new RangeError('compute answered another shape, or values that are not finite')
      answer = encodeReply(id, dtype, sum, hiddenSize, queueMicros, serviceMicros)
      counters.requests++
      counters.tokens += batch.tokens
      if (trace != null) this.#state.init.onEvent({ type: 'request-served', peerId: this.#peerId, layer: batch.layer, tokens: batch.tokens, ...trace, queueMicros, serviceMicros })
    } catch (error) {
      if (controller.signal.aborted) return
      return this.#refuse(id, wireCodeOf(error) ?? 'compute-failed', retryAfterOf(error))
    }
    if (controller.signal.aborted) return
    if (this.backlogBytes > this.#state.limits.maxBacklogBytesPerStream) return this.cutSlowReader()
    counters.sentBytes += answer.byteLength
    this.#send(answer)
  }

  #refuse (id: number, code: WireErrorCode, retryAfterMs = 0): void {
    if (code === 'busy') this.#state.counters.refused++
    else this.#state.counters.failed++
    this.#state.init.onEvent({ type: 'request-refused', peerId: this.#peerId, code })
    this.#send(encodeError(id, code, retryAfterMs))
  }
}

function wireCodeOf (error: unknown): WireErrorCode | undefined {
  const code = asSwarmError(error)?.code
  return code != null && isWireCode(code) ? code : undefined
}

function retryAfterOf (error: unknown): number {
  return isSwarmError(error, 'busy') ? error.data.retryAfterMs : 0
}
