import type { DispatchTiming } from '../../swarm/index.js'
import type { Sending } from './shared-requests.js'

/** What a layer spends its time on, in milliseconds of wall time. */
export interface LayerTimes {
  /** Waiting for the lap before it in the same sequence, or for other sequences' computing. */
  turn: number
  /** Attention, norms and router: one graph. */
  attention: number
  /** Choosing peers, splitting the batch and handing it to sockets or workers. */
  send: number
  /** Between numbers and the wire's form, both ways. */
  serialise: number
  denseMlp: number
  /** Of the wait after the dense MLP was done: the share that the slowest answer travelled. */
  network: number
  /** Of that wait: the share that it waited for a compute worker. */
  queue: number
  /** Of that wait: the share in which experts computed. */
  experts: number
  /** Adding up partial sums. */
  combine: number
}

/** Where the wall time of laps went, in milliseconds. The rows add up to `total`. */
export interface LapTimes extends LayerTimes {
  /** Embedding rows and rotary angles. */
  embedding: number
  head: number
  /** What no row above explains. */
  other: number
  total: number
}

const LAYER_ROWS = ['turn', 'attention', 'send', 'serialise', 'denseMlp', 'network', 'queue', 'experts', 'combine'] as const satisfies Array<keyof LayerTimes>

/** Adds up laps of one kind (prefill chunks apart from decoding), layer by layer. */
export class LapProfile {
  private readonly sums: LayerTimes[] = []
  private embedding = 0
  private head = 0
  private total = 0
  private count = 0

  /** @param now - milliseconds */
  constructor (private readonly now: () => number = () => performance.now()) {}

  /** Adds the time since `start` to a row of a layer and returns the present time. */
  add (layer: number, row: keyof LayerTimes, start: number): number {
    const now = this.now()
    this.ofLayer(layer)[row] += now - start
    return now
  }

  /** As `add`, for what is done once a lap. */
  addOnce (row: 'embedding' | 'head', start: number): number {
    const now = this.now()
    this[row] += now - start
    return now
  }

  /**
   * Divides the wait for a layer's experts, by what the dispatch says of itself: what is done here last (decoding, combining) is at the
   * wait's end, and the rest is shared as the slowest answer's time was; a part of that passed before, beside the dense MLP. What of the wait was before the
   * sending ended, which laps of other sequences had a part in, is no answer's.
   */
  addWait (layer: number, start: number, { encodeMs, networkMs, queueMs, serviceMs, decodeMs, combineMs }: DispatchTiming, sending: Sending = { fromMs: start, toMs: start }): number {
    const now = this.now()
    const times = this.ofLayer(layer)
    const [from, to] = [Math.max(start, sending.fromMs), Math.max(start, sending.toMs)]
    times.turn += from - start
    times.send += to - from
    let left = now - to
    const take = (row: keyof LayerTimes, ms: number): void => {
      const taken = Math.min(left, ms)
      times[row] += taken
      left -= taken
    }
    take('combine', combineMs)
    take('serialise', decodeMs)
    const answered = networkMs + queueMs + serviceMs
    const share = answered > 0 ? left / answered : 0
    take('queue', queueMs * share)
    take('experts', serviceMs * share)
    times.network += left
    times.serialise += encodeMs // which 'send' was charged with
    times.send -= encodeMs
    return now
  }

  lapDone (ms: number): void {
    this.total += ms
    this.count++
  }

  get laps (): number { return this.count }

  /** Means over the laps. */
  mean (): LapTimes {
    const layers = this.layers()
    const rows = Object.fromEntries(LAYER_ROWS.map(row => [row, layers.reduce((sum, times) => sum + times[row], 0)])) as Record<keyof LayerTimes, number>
    const explained = { embedding: this.per(this.embedding), ...rows, head: this.per(this.head) }
    const total = this.per(this.total)
    return { ...explained, other: total - Object.values(explained).reduce((a, b) => a + b, 0), total }
  }

  /** Means over the laps, by layer. */
  layers (): LayerTimes[] {
    return this.sums.map(times => Object.fromEntries(LAYER_ROWS.map(row => [row, this.per(times[row])])) as Record<keyof LayerTimes, number>)
  }

  private per (ms: number): number { return this.count === 0 ? 0 : ms / this.count }

  private ofLayer (layer: number): LayerTimes {
    return this.sums[layer] ??= { turn: 0, attention: 0, send: 0, serialise: 0, denseMlp: 0, network: 0, queue: 0, experts: 0, combine: 0 }
  }
}

/** Of a generation under way: whoever hands one in can tell what came of a generation that does not come to its end. */
export class GenerationProfile {
  readonly prefill = new LapProfile()
  readonly decode = new LapProfile()
  /** When it began, after whatever it waited for; undefined before. Milliseconds of performance.now(). */
  startedAt: number | undefined
  /** Of the prompt, the first tokens, which were in a kept cache. */
  cachedTokens = 0
}
