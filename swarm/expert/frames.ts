import type { Stream } from '@libp2p/interface'
import * as lp from 'it-length-prefixed'
import { pipe } from 'it-pipe'
import { HANDSHAKE_TIMEOUT_MS } from '../constants.js'
import { asSwarmError, SwarmError } from '../errors.js'

export interface FrameStreamInit {
  stream: Stream
  /** Id of the other side, for errors. */
  peerId: string
  /** A longer frame ends the stream before it is read into memory. */
  maxFrameBytes: number
  /** Whether to know what has come of a frame that is not complete: a peer must, of strangers. */
  watchPartial?: boolean
  /** Called for each frame, in order. What it throws ends the stream. */
  onFrame: (frame: Uint8Array) => void
  /** Called once, when nothing will arrive or can be sent any more. */
  onClose: (error: SwarmError) => void
}

/**
 * A libp2p stream that carries length-prefixed frames both ways for as long as it lives. Reading goes through it-pipe; writing is
 * synchronous, so that a frame is with the socket when `send` returns.
 */
export class FrameStream {
  readonly #stream: Stream
  readonly #init: FrameStreamInit
  #closed = false
  #partialBytes = 0
  #partialSinceMs = 0

  constructor (init: FrameStreamInit) {
    this.#init = init
    this.#stream = init.stream
    // A peer that is killed ends the stream without an error, and the iterator normally: both must end what waits.
    this.#stream.addEventListener('close', () => { this.#end(this.#gone()) }, { once: true })
    pipe(
      this.#stream,
      source => lp.decode(source, { maxDataLength: init.maxFrameBytes }),
      async frames => {
        for await (const frame of frames) {
          if (this.#closed) return
          if (init.watchPartial === true) this.#completed(frame.byteLength)
          init.onFrame(frame.subarray())
        }
      }
    ).then(async () => { await this.#hangUp() }, (error: unknown) => { this.abort(this.#asSwarmError(error)) })
    // After the reader: what has arrived before goes to both.
    if (init.watchPartial === true) this.#stream.addEventListener('message', ({ data }) => { this.#arrived(data.byteLength) })
  }

  /** Bytes that were sent but are not with the socket yet. */
  get backlogBytes (): number {
    return this.#stream.writeBufferLength
  }

  /** Bytes that have come of a frame that is not complete; 0 unless `watchPartial`. */
  get partialBytes (): number {
    return this.#partialBytes
  }

  /** Since when that frame is awaited, on the clock of performance.now. */
  get partialSinceMs (): number {
    return this.#partialSinceMs
  }

  get closed (): boolean {
    return this.#closed
  }

  /** Sends a frame with its prefix; it must not be changed afterwards, the stream does not copy. Does nothing once closed. */
  send (framed: Uint8Array): void {
    if (this.#closed) return
    try {
      this.#stream.send(framed)
    } catch {
      this.#end(this.#gone())
    }
  }

  /** Ends both directions at once. */
  abort (error: SwarmError): void {
    if (this.#closed) return
    this.#end(error)
    this.#stream.abort(error)
  }

  /** Ends after what was sent has left. */
  async close (signal: AbortSignal): Promise<void> {
    const stream = this.#stream
    if (this.#closed) return
    this.#end(this.#gone())
    try {
      await stream.close({ signal })
    } catch (error) {
      stream.abort(error instanceof Error ? error : this.#gone())
    }
  }

  #arrived (bytes: number): void {
    if (this.#partialBytes === 0) this.#partialSinceMs = performance.now()
    this.#partialBytes += bytes
  }

  #completed (frameBytes: number): void {
    let prefix = 1
    for (let rest = frameBytes >>> 7; rest > 0; rest >>>= 7) prefix++
    this.#partialBytes -= frameBytes + prefix
    if (this.#partialBytes > 0) this.#partialSinceMs = performance.now()
  }

  /** The other side writes no more: our half must end too, or the stream keeps its place on the connection. */
  async #hangUp (): Promise<void> {
    this.#end(this.#gone())
    try {
      await this.#stream.close({ signal: AbortSignal.timeout(HANDSHAKE_TIMEOUT_MS) })
    } catch (error) {
      this.#stream.abort(error instanceof Error ? error : this.#gone())
    }
  }

  #end (error: SwarmError): void {
    if (this.#closed) return
    this.#closed = true
    this.#init.onClose(error)
  }

  #gone (): SwarmError<'peer-gone'> {
    const { peerId } = this.#init
    return new SwarmError('peer-gone', `The connection to peer ${peerId} ended.`, { peerId })
  }

  #asSwarmError (error: unknown): SwarmError {
    const known = asSwarmError(error)
    if (known != null) return known
    const name = error instanceof Error ? error.name : ''
    if (name === 'InvalidDataLengthError') {
      const limit = this.#init.maxFrameBytes
      return new SwarmError('too-large', `The other side sent a frame of more than ${limit} bytes.`, { limit }, { cause: error })
    }
    if (name.startsWith('Invalid') || name === 'UnexpectedEOFError') {
      return new SwarmError('malformed', 'The other side sent bytes that are no frame.', { reason: name }, { cause: error })
    }
    return this.#gone()
  }
}
