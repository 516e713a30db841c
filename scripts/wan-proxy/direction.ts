import type { Socket } from 'node:net'
import type { PreciseClock } from './precise-clock.js'

/** What a link does to the bytes that go one way. */
export interface DirectionSettings {
  /** One way, in milliseconds. */
  delayMs: number
  /** The delay of each piece lies within +- this, evenly spread; order is kept. Milliseconds. */
  jitterMs: number
  /** Megabits a second; Infinity for no cap. */
  mbitPerSecond: number
}

export interface DirectionInit {
  from: Socket
  to: Socket
  clock: PreciseClock
  /** Read for each piece, so that changes work at once. */
  settings: Readonly<DirectionSettings>
  /** In [0, 1). */
  random: () => number
  /** Bytes that may be on their way; then the sender is no longer read from. */
  bufferBytes: () => number
  /** No piece sets out before this: a TCP connection takes a round trip to be there. Of performance.now(). */
  openAtMs: number
}

interface Piece {
  bytes: Uint8Array | 'end' | 'reset'
  dueMs: number
}

/** Below this a piece is not cut to shape it. */
const MIN_PIECE_BYTES = 1460
/** With a bandwidth cap, a piece takes no longer on the wire than this. */
const PIECE_MS = 1

/** One direction of one connection: bytes go on in order, none of them copied, each piece when the link would have delivered it. */
export class Direction {
  readonly #init: DirectionInit
  readonly #pieces: Piece[] = []
  #queuedBytes = 0
  /** When the wire has sent what it was given so far. */
  #wireFreeMs: number
  #lastDueMs = 0
  #stalled = false
  #closed = false

  constructor (init: DirectionInit) {
    this.#init = init
    this.#wireFreeMs = init.openAtMs
    init.from.on('data', (bytes: Buffer) => { this.#accept(bytes) })
    init.from.on('end', () => { this.#enqueue('end', performance.now()) })
    init.from.on('error', () => { this.#enqueue('reset', performance.now()) })
    init.to.on('drain', () => { this.#reconsiderReading() })
  }

  /** Holds everything back, what is on its way too. */
  stall (): void {
    this.#stalled = true
    this.#init.clock.cancel(this.#deliver)
  }

  resume (): void {
    this.#stalled = false
    this.#deliver()
  }

  close (): void {
    this.#closed = true
    this.#pieces.length = 0
    this.#init.clock.cancel(this.#deliver)
  }

  #accept (bytes: Uint8Array): void {
    const now = performance.now()
    const { mbitPerSecond } = this.#init.settings
    const bytesPerMs = mbitPerSecond * 125
    const size = mbitPerSecond === Infinity ? bytes.byteLength : Math.max(MIN_PIECE_BYTES, Math.floor(bytesPerMs * PIECE_MS))
    for (let at = 0; at < bytes.byteLength; at += size) {
      const piece = bytes.subarray(at, at + size)
      this.#wireFreeMs = Math.max(this.#wireFreeMs, now) + piece.byteLength / bytesPerMs
      this.#enqueue(piece, this.#wireFreeMs)
    }
    this.#reconsiderReading()
  }

  #enqueue (bytes: Piece['bytes'], sentMs: number): void {
    if (this.#closed) return
    const { settings: { delayMs, jitterMs }, random } = this.#init
    const jitter = jitterMs === 0 ? 0 : jitterMs * (2 * random() - 1)
    const dueMs = Math.max(this.#lastDueMs, Math.max(sentMs, this.#wireFreeMs) + Math.max(0, delayMs + jitter))
    this.#lastDueMs = dueMs
    this.#pieces.push({ bytes, dueMs })
    if (typeof bytes !== 'string') this.#queuedBytes += bytes.byteLength
    if (this.#pieces.length === 1) this.#deliver()
  }

  readonly #deliver = (): void => {
    const { to, clock } = this.#init
    if (this.#stalled || this.#closed) return
    const now = performance.now()
    let count = 0
    const dueNow = (): boolean => count < this.#pieces.length && this.#pieces[count].dueMs <= now
    const several = this.#pieces.length > 1 && this.#pieces[1].dueMs <= now
    if (several) to.cork()
    for (; dueNow(); count++) {
      const { bytes } = this.#pieces[count]
      if (bytes === 'end') {
        to.end()
      } else if (bytes === 'reset') {
        to.resetAndDestroy()
      } else {
        this.#queuedBytes -= bytes.byteLength
        if (to.writable) to.write(bytes)
      }
    }
    if (several) to.uncork()
    this.#pieces.splice(0, count)
    if (this.#pieces.length > 0) clock.wakeAt(this.#pieces[0].dueMs, this.#deliver)
    this.#reconsiderReading()
  }

  /** What is on its way is bounded; below half of the bound the sender is read from again. */
  #reconsiderReading (): void {
    const { from, to } = this.#init
    const bytes = this.#queuedBytes + to.writableLength
    const bound = this.#init.bufferBytes()
    if (bytes >= bound) from.pause()
    else if (bytes <= bound / 2 && from.isPaused()) from.resume()
  }
}
