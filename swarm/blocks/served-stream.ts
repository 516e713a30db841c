import { setTimeout as sleep } from 'node:timers/promises'
import type { Stream } from '@libp2p/interface'
import * as limits from '../constants.js'
import { SwarmError } from '../errors.js'
import type { OnSwarmEvent } from '../events.js'
import { FrameStream } from '../expert/frames.js'
import type { WireErrorCode } from '../expert/error-codes.js'
import { decodeFetcherFrame, encodeBlocksError, encodeCancelled, encodeContents, encodeSizesReply, type FetcherFrame } from './codec.js'
import { BulkCredit } from './credit.js'
import type { BlockCounters, BlockSource } from './interface.js'
import type { RateLimit } from './rate-limit.js'

export interface ServedBlocksInit {
  source: BlockSource
  rateLimit: RateLimit
  counters: BlockCounters
  stream: Stream
  /** Of the fetcher. */
  peerId: string
  onClose: () => void
  onEvent: OnSwarmEvent
}

type Read = FetcherFrame & { kind: 'read' }

/**
 * One fetcher's stream on a serving peer. Reads are answered one after the other; of what they ask for, at most one chunk is in memory and at
 * most what BulkCredit allows is on its way, so hidden states on the same connection hardly wait.
 */
export class ServedBlocksStream {
  readonly #init: ServedBlocksInit
  readonly #frames: FrameStream
  readonly #ended = new AbortController()
  readonly #reads: Read[] = []
  readonly #cancelled = new Set<number>()
  #serving = false
  readonly #sent = new BulkCredit()
  /** Called when credit has come back, or the stream has ended. */
  #onCredit: () => void = () => {}
  #idleTimer: NodeJS.Timeout | undefined

  constructor (init: ServedBlocksInit) {
    this.#init = init
    this.#frames = new FrameStream({
      stream: init.stream,
      peerId: init.peerId,
      maxFrameBytes: limits.BLOCKS_MAX_FRAME_BYTES,
      onFrame: frame => { this.#onFrame(frame) },
      onClose: error => {
        clearTimeout(this.#idleTimer)
        this.#ended.abort()
        this.#onCredit()
        if (error.code !== 'peer-gone' && error.code !== 'timeout') init.onEvent({ type: 'stream-aborted', peerId: init.peerId, code: error.code })
        init.onClose()
      }
    })
    this.#stayAwake()
  }

  async close (signal: AbortSignal): Promise<void> {
    await this.#frames.close(signal)
  }

  /** A stream on which nothing is asked, sent or acknowledged holds its place for nothing. */
  #stayAwake (): void {
    clearTimeout(this.#idleTimer)
    this.#idleTimer = setTimeout(() => {
      this.#frames.abort(new SwarmError('timeout', 'A fetcher asks for nothing, or acknowledges nothing.', { afterMs: limits.BLOCKS_IDLE_MS }))
    }, limits.BLOCKS_IDLE_MS)
  }

  #onFrame (bytes: Uint8Array): void {
    const frame = decodeFetcherFrame(bytes)
    this.#stayAwake()
    switch (frame.kind) {
      case 'sizes': return this.#answerSizes(frame.id, frame.digests)
      case 'read': return this.#admit(frame)
      case 'ack': return this.#acknowledge(frame.bytes)
      case 'cancel':
        if (this.#reads.some(({ id }) => id === frame.id)) this.#cancelled.add(frame.id)
    }
  }

  #answerSizes (id: number, digests: string[]): void {
    if (this.#frames.backlogBytes > limits.BLOCKS_MAX_CREDIT_BYTES * 2) {
      throw new SwarmError('too-large', 'A fetcher does not read its answers.', { limit: limits.BLOCKS_MAX_CREDIT_BYTES * 2 })
    }
    this.#frames.send(encodeSizesReply(id, digests.map(digest => this.#bytesOf(digest))))
  }

  #admit (read: Read): void {
    if (this.#reads.some(({ id }) => id === read.id)) throw malformed('a read id twice')
    if (this.#reads.length >= limits.BLOCKS_MAX_READS) throw malformed('more reads than the protocol allows')
    this.#reads.push(read)
    if (!this.#serving) void this.#serve()
  }

  #acknowledge (bytes: number): void {
    if (bytes > this.#sent.unacknowledgedBytes) throw malformed('an acknowledgement of what was not sent')
    this.#sent.acknowledged(bytes, performance.now())
    this.#onCredit()
  }

  async #serve (): Promise<void> {
    this.#serving = true
    for (let read = this.#reads[0]; read != null && !this.#frames.closed; read = this.#reads[0]) {
      try {
        await this.#answer(read)
      } catch {
        // The source cannot read what it has: another peer can.
        if (!this.#frames.closed) this.#refuse(read.id, 'not-hosted')
      }
      this.#reads.shift()
      this.#cancelled.delete(read.id)
    }
    this.#serving = false
  }

  async #answer ({ id, sha256, offset, length }: Read): Promise<void> {
    const size = this.#bytesOf(sha256)
    if (size == null || offset + length > size) return this.#refuse(id, 'not-hosted')
    if (this.#cancelled.has(id)) return this.#frames.send(encodeCancelled(id))
    const { source, counters, rateLimit, peerId } = this.#init
    const contents = sha256 === source.modelId ? source.manifest.subarray(offset, offset + length) : await source.read(sha256, offset, length)
    if (contents.byteLength !== length) return this.#refuse(id, 'not-hosted')
    for (let at = 0, piece; at < length; at += piece.byteLength) {
      piece = contents.subarray(at, at + this.#sent.frameBytes)
      await this.#credit(piece.byteLength)
      if (this.#cancelled.has(id)) return this.#frames.send(encodeCancelled(id))
      const waitMs = rateLimit.grant(peerId, piece.byteLength, performance.now())
      if (waitMs > 0) await sleep(waitMs, undefined, { signal: this.#ended.signal })
      if (this.#frames.closed) return
      this.#sent.sent(piece.byteLength, performance.now())
      this.#frames.send(encodeContents(id, piece))
      this.#stayAwake()
      counters.sentBytes += piece.byteLength
    }
    counters.reads++
  }

  /** Returns when so many bytes more may be on their way, or the stream has ended. */
  async #credit (bytes: number): Promise<void> {
    while (!this.#sent.allows(bytes) && !this.#frames.closed) {
      await new Promise<void>(resolve => { this.#onCredit = resolve })
    }
  }

  #bytesOf (sha256: string): number | undefined {
    const { source } = this.#init
    return sha256 === source.modelId ? source.manifest.byteLength : source.bytesOf(sha256)
  }

  #refuse (id: number, code: WireErrorCode): void {
    this.#init.counters.refused++
    this.#frames.send(encodeBlocksError(id, code))
  }
}

function malformed (reason: string): SwarmError<'malformed'> {
  return new SwarmError('malformed', `The other side sent ${reason}.`, { reason })
}
