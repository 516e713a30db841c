import { createHash, type Hash } from 'node:crypto'
import type { Libp2p, PeerId, Stream } from '@libp2p/interface'
import * as limits from '../constants.js'
import { SwarmError } from '../errors.js'
import type { WireErrorCode } from '../expert/error-codes.js'
import { FrameStream } from '../expert/frames.js'
import { decodeServerFrame, encodeAck, encodeCancel, encodeRead, encodeSizes, type ServerFrame } from './codec.js'

export interface BlockClientInit {
  libp2p: Pick<Libp2p, 'dialProtocol'>
  peerId: PeerId
  signal: AbortSignal
  /** Called once when the stream has ended after a successful `open`, for whatever reason. */
  onClose: (error: SwarmError) => void
}

/** Bytes as they came, with the digest that they have. */
export interface ReadContents {
  bytes: Uint8Array
  /** 64 hex digits. */
  sha256: string
}

interface PendingSizes {
  kind: 'sizes'
  count: number
  resolve: (sizes: Array<number | undefined>) => void
  reject: (error: SwarmError) => void
}

interface PendingRead {
  kind: 'read'
  bytes: Uint8Array
  filled: number
  /** Fed frame by frame, so that no chunk holds the loop for its whole length. */
  hash: Hash
  /** The caller has its answer; what was on its way still arrives. */
  cancelled: boolean
  resolve: (contents: ReadContents) => void
  reject: (error: SwarmError) => void
}

/** One peer's files over one stream. Contents are believed to be nothing but bytes: whoever asked compares the digest. */
export class BlockClient {
  readonly peerId: string
  readonly #init: BlockClientInit
  readonly #frames: FrameStream
  readonly #pending = new Map<number, PendingSizes | PendingRead>()
  #nextId = 1
  #stallTimer: NodeJS.Timeout | undefined

  /** Throws SwarmError 'unreachable'. */
  static async open (init: BlockClientInit): Promise<BlockClient> {
    let stream: Stream
    try {
      stream = await init.libp2p.dialProtocol(init.peerId, limits.BLOCKS_PROTOCOL, { signal: init.signal })
    } catch (error) {
      const peerId = init.peerId.toString()
      throw new SwarmError('unreachable', `Peer ${peerId} does not answer the blocks protocol.`, { addresses: [peerId] }, { cause: error })
    }
    return new BlockClient(init, stream)
  }

  private constructor (init: BlockClientInit, stream: Stream) {
    this.#init = init
    this.peerId = init.peerId.toString()
    this.#frames = new FrameStream({
      stream,
      peerId: this.peerId,
      maxFrameBytes: limits.BLOCKS_MAX_FRAME_BYTES,
      onFrame: frame => { this.#onFrame(decodeServerFrame(frame)) },
      onClose: error => { this.#onClose(error) }
    })
  }

  get closed (): boolean {
    return this.#frames.closed
  }

  /** [digests] the sizes of what the peer has, undefined for what it lacks. Rejects with SwarmError 'peer-gone', 'timeout', 'malformed' or 'busy'. */
  async sizes (digests: readonly string[]): Promise<Array<number | undefined>> {
    const parts: Array<Promise<Array<number | undefined>>> = []
    for (let at = 0; at < digests.length; at += limits.BLOCKS_MAX_DIGESTS) {
      const part = digests.slice(at, at + limits.BLOCKS_MAX_DIGESTS)
      parts.push(this.#ask(id => encodeSizes(id, part), (resolve, reject) => ({ kind: 'sizes', count: part.length, resolve, reject })))
    }
    return (await Promise.all(parts)).flat()
  }

  /**
   * At most BLOCK_CHUNK_BYTES of a content. At most BLOCKS_MAX_READS may be under way, cancelled ones included until the peer lets go of them.
   * Rejects with SwarmError 'peer-gone', 'timeout', 'malformed', 'busy', 'not-hosted' (the peer has it no longer) or 'aborted'.
   */
  async read (sha256: string, offset: number, length: number, signal?: AbortSignal): Promise<ReadContents> {
    if (signal?.aborted === true) throw aborted()
    let readId = 0
    const onAbort = (): void => { this.#cancel(readId) }
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      return await this.#ask<ReadContents>(id => encodeRead(readId = id, sha256, offset, length), (resolve, reject) => ({
        kind: 'read', bytes: new Uint8Array(length), filled: 0, hash: createHash('sha256'), cancelled: false, resolve, reject
      }))
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Reads that the peer still works on. */
  get reads (): number {
    let reads = 0
    for (const { kind } of this.#pending.values()) {
      if (kind === 'read') reads++
    }
    return reads
  }

  /** Ends the stream at once; what is pending fails with this. */
  abort (error: SwarmError): void {
    this.#frames.abort(error)
  }

  /** Ends the stream, at once when contents are on their way; what is pending fails. */
  async close (): Promise<void> {
    if (this.reads > 0) return this.#frames.abort(aborted())
    await this.#frames.close(AbortSignal.timeout(limits.HANDSHAKE_TIMEOUT_MS))
  }

  #ask<T> (encode: (id: number) => Uint8Array, pending: (resolve: (value: T) => void, reject: (error: SwarmError) => void) => PendingSizes | PendingRead): Promise<T> {
    if (this.closed) return Promise.reject(new SwarmError('peer-gone', `The connection to peer ${this.peerId} ended.`, { peerId: this.peerId }))
    const id = this.#nextId++
    return new Promise<T>((resolve, reject) => {
      this.#pending.set(id, pending(resolve, reject))
      if (this.#stallTimer == null) this.#watch()
      this.#frames.send(encode(id))
    })
  }

  #watch (): void {
    clearTimeout(this.#stallTimer)
    this.#stallTimer = this.#pending.size === 0 || this.closed ? undefined : setTimeout(() => {
      this.#frames.abort(new SwarmError('timeout', `Peer ${this.peerId} sent nothing for ${limits.BLOCKS_STALL_MS / 1_000} s.`, { afterMs: limits.BLOCKS_STALL_MS }))
    }, limits.BLOCKS_STALL_MS)
  }

  #onFrame (frame: ServerFrame): void {
    const pending = this.#pending.get(frame.id)
    if (frame.kind === 'error' && frame.id === 0) throw this.#refused(frame.code, frame.retryAfterMs)
    if (pending == null) throw malformed('an answer that nobody asked for')
    switch (frame.kind) {
      case 'sizes':
        if (pending.kind !== 'sizes' || frame.sizes.length !== pending.count) throw malformed('sizes that do not fit the question')
        this.#pending.delete(frame.id)
        pending.resolve(frame.sizes)
        break
      case 'contents':
        if (pending.kind !== 'read' || pending.filled + frame.bytes.byteLength > pending.bytes.byteLength) throw malformed('contents that do not fit the read')
        this.#fill(frame.id, pending, frame.bytes)
        break
      case 'error':
        this.#pending.delete(frame.id)
        pending.reject(this.#refused(frame.code, frame.retryAfterMs))
        break
      case 'cancelled':
        if (pending.kind !== 'read' || !pending.cancelled) throw malformed('the end of a read that was not cancelled')
        this.#pending.delete(frame.id)
    }
    this.#watch()
  }

  #fill (id: number, read: PendingRead, bytes: Uint8Array): void {
    read.bytes.set(bytes, read.filled)
    if (!read.cancelled) read.hash.update(bytes)
    read.filled += bytes.byteLength
    // Frame by frame: over a slow link frames are small, and few of them may be on their way.
    if (bytes.byteLength > 0) this.#frames.send(encodeAck(bytes.byteLength))
    if (read.filled < read.bytes.byteLength) return
    this.#pending.delete(id)
    if (!read.cancelled) read.resolve({ bytes: read.bytes, sha256: read.hash.digest('hex') })
  }

  #cancel (id: number): void {
    const pending = this.#pending.get(id)
    if (pending?.kind !== 'read') return
    pending.cancelled = true
    pending.reject(aborted())
    this.#frames.send(encodeCancel(id))
  }

  #onClose (error: SwarmError): void {
    clearTimeout(this.#stallTimer)
    for (const pending of this.#pending.values()) pending.reject(error)
    this.#pending.clear()
    this.#init.onClose(error)
  }

  #refused (code: WireErrorCode, retryAfterMs: number): SwarmError {
    if (code === 'busy') return new SwarmError(code, `Peer ${this.peerId} serves as many as it can.`, { retryAfterMs: Math.min(retryAfterMs, limits.PEER_RETRY_MAX_MS) })
    if (code === 'not-hosted') return new SwarmError(code, `Peer ${this.peerId} has a file no longer.`, {})
    return malformed(`an error that the blocks protocol does not have (${code})`)
  }
}

function aborted (): SwarmError<'aborted'> {
  return new SwarmError('aborted', 'The transfer was cancelled.', {})
}

function malformed (reason: string): SwarmError<'malformed'> {
  return new SwarmError('malformed', `The other side sent ${reason}.`, { reason })
}
