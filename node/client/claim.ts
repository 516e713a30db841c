import type { LayerType } from '../../model-tools/index.js'
import type { Tensor } from '../onnx-session.js'
import type { KeysAndValues } from './layer-cache.js'

/** What attention reads of one layer type for one lap, shared by all layers of that type. */
export interface Masks {
  /** [tokens, capacity] */
  cache: Tensor
  /** [tokens, tokens] */
  fresh: Tensor
  /** How scores are divided between the two. */
  split: Tensor
}

/**
 * The positions [start, start + tokens) of a lap in flight, and how far it has come. Laps of one sequence overlap: each may run a layer as
 * soon as the one before it has written that layer's keys and values.
 */
export class Claim {
  /** Layers whose keys and values are written. */
  private written = 0
  private next?: Claim
  private failure?: { reason: unknown }
  private waiting?: { until: () => boolean, resolve: () => void, reject: (reason: unknown) => void }
  private readonly aborted = new AbortController()
  /** Masks for the capacity of the layer that asked last. */
  readonly masks: Partial<Record<LayerType, Masks>> = {}
  /** What a ring held where this lap has written, by layer. */
  readonly replaced = new Map<number, KeysAndValues>()
  /** Places of the text that the rows stand for, counted from its beginning: rows of a tree may stand for the same one. */
  readonly positions: number[]

  /** `previous` is the lap in flight before this one; `parents`, for a tree, the row that each row but the first follows. */
  constructor (readonly start: number, readonly tokens: number, private previous: Claim | undefined, private readonly parents?: readonly number[]) {
    this.positions = []
    for (let row = 0; row < tokens; row++) this.positions.push(row === 0 ? start : this.positions[this.parent(row)] + 1)
  }

  /** The row that `row` follows, -1 for the first one. */
  parent (row: number): number {
    return this.parents === undefined || row === 0 ? row - 1 : this.parents[row - 1]
  }

  get end (): number { return this.start + this.tokens }

  /** Whether no lap before this one is in flight. */
  get first (): boolean { return this.previous === undefined }

  /** Aborts when a lap before this one has failed. */
  get signal (): AbortSignal { return this.aborted.signal }

  /** Waits until `layer` has all that comes before this lap. Rejects with what made a lap before this one fail. */
  async turn (layer: number): Promise<void> {
    await this.wait(() => this.previous === undefined || this.previous.written > layer)
  }

  /** Waits until all laps before this one have ended. */
  async lastTurn (): Promise<void> {
    await this.wait(() => this.previous === undefined)
  }

  /** @throws what made a lap before this one fail */
  throwIfFailed (): void {
    if (this.failure !== undefined) throw this.failure.reason
  }

  /** Layers are written in order. */
  wroteLayer (): void {
    this.written++
    this.next?.wake()
  }

  /** The lap is done. */
  leave (): void {
    if (this.next === undefined) return
    this.next.previous = undefined
    this.next.wake()
  }

  /** Names the lap after this one; undefined when that has failed. */
  follow (next: Claim | undefined): void { this.next = next }

  fail (reason: unknown): void {
    this.failure = { reason }
    this.waiting?.reject(reason)
    this.waiting = undefined
    this.aborted.abort(reason)
  }

  private async wait (until: () => boolean): Promise<void> {
    this.throwIfFailed()
    if (until()) return
    await new Promise<void>((resolve, reject) => { this.waiting = { until, resolve, reject } })
  }

  private wake (): void {
    if (this.waiting?.until() !== true) return
    this.waiting.resolve()
    this.waiting = undefined
  }
}
