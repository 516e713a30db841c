import type { LayerType, ModelConfig } from '../../model-tools/index.js'
import { f32Tensor, i64Tensor, type Tensor } from '../onnx-session.js'
import { Claim, type Masks } from './claim.js'
import { Contributors } from './contributors.js'
import { type KeysAndValues, LayerCache } from './layer-cache.js'

/** Positions of a new cache, and by how many it grows at least. */
const INITIAL_CAPACITY = 128
const STEP = 64

/** A cache that grows does so by an eighth: attention reads all of the room that there is, and copying it once in a while costs less than reading it for every token. */
const GROWTH = 1 / 8

/** Positions by which a sliding layer's ring exceeds the window: the longest roll-back of committed positions. */
export const RING_SLACK = 128

/** Memory of a sequence's cache when it has come to `positions`. */
export function kvCacheBytes ({ layerTypes, attention, slidingWindow, maxPositions }: ModelConfig, positions: number): number {
  const held = { full: Math.min(positions, maxPositions), sliding: Math.min(positions, maxPositions, slidingWindow + RING_SLACK) }
  return layerTypes.reduce((sum, type) => sum + 2 * Float32Array.BYTES_PER_ELEMENT * attention[type].kvHeads * attention[type].headDim * held[type], 0)
}

/**
 * The KV cache of one sequence. Full layers hold every position, sliding layers a ring of window + RING_SLACK. It grows by
 * an eighth; nothing is copied per token. Positions at and after `length` are free, so a roll-back is a change of length.
 *
 * Several laps may be in flight, each with a claim on the positions after those of the lap before. At every layer they come in order, so a ring never
 * holds later positions than the lap before the reading one has written, however many are in flight. What laps in flight overwrite in a ring
 * is kept until they are committed, so one that fails leaves the cache as it was.
 */
export class KvCache {
  /** Peers whose replies are in what is held. */
  readonly contributors = new Contributors()
  private readonly layers: LayerCache[]
  private readonly limit: Record<LayerType, number>
  private readonly inFlight: Claim[] = []
  private committed = 0
  /** One past the last position that was ever committed: beyond it a ring has lost nothing. */
  private written = 0

  constructor (private readonly config: ModelConfig) {
    this.limit = { full: config.maxPositions, sliding: Math.min(config.maxPositions, config.slidingWindow + RING_SLACK) }
    this.layers = config.layerTypes.map(type =>
      new LayerCache(config.attention[type].kvHeads, config.attention[type].headDim, Math.min(INITIAL_CAPACITY, this.limit[type])))
  }

  /** Committed positions. */
  get length (): number { return this.committed }

  /** Memory of all layers as they are now. */
  get bytes (): number { return this.layers.reduce((sum, { bytes }) => sum + bytes, 0) }

  layer (index: number): LayerCache { return this.layers[index] }

  /**
   * Takes the next `tokens` positions for a lap. Those of a tree (`parents`, see Claim) see what they follow alone, and `keep` says
   * which of them become text. @throws RangeError past the model's context
   */
  claim (tokens: number, parents?: readonly number[]): Claim {
    const before = this.inFlight.at(-1)
    const claim = new Claim(before?.end ?? this.committed, tokens, before, parents)
    if (claim.end > this.config.maxPositions) throw new RangeError(`${claim.end} positions exceed the context of ${this.config.maxPositions}`)
    before?.follow(claim)
    this.inFlight.push(claim)
    return claim
  }

  /**
   * What a layer's attention graph reads for a lap, as soon as the lap before it has written there, and with room for what it will write. A
   * layer's size depends only on the laps that have come to it, so laps that overlap give the bits of laps one by one.
   */
  async inputs (claim: Claim, layer: number): Promise<Record<'cache_k' | 'cache_v' | 'cache_mask' | 'new_mask' | 'key_split', Tensor>> {
    await claim.turn(layer)
    const type = this.config.layerTypes[layer]
    const cache = this.layers[layer]
    let capacity = cache.capacity
    while (capacity < this.limit[type] && capacity < claim.end) capacity = Math.min(capacity + STEP * Math.ceil(capacity * GROWTH / STEP), this.limit[type])
    if (capacity > cache.capacity) cache.grow(capacity)
    const masks = this.masks(type, claim, capacity)
    return { cache_k: cache.keyTensor, cache_v: cache.valueTensor, cache_mask: masks.cache, new_mask: masks.fresh, key_split: masks.split }
  }

  /** Writes a layer of a lap in flight. @throws what made a lap before it fail */
  write (claim: Claim, layer: number, fresh: KeysAndValues): void {
    claim.throwIfFailed()
    const { start, tokens } = claim
    const cache = this.layers[layer]
    if (claim.end > cache.capacity) claim.replaced.set(layer, cache.read(start, tokens))
    cache.write(fresh, start, tokens)
    claim.wroteLayer()
  }

  /** Ends a lap: waits for those before it. Rejects with what made one of them fail. */
  async commit (claim: Claim): Promise<void> {
    await claim.lastTurn()
    this.inFlight.shift()
    this.committed = claim.end
    this.written = Math.max(this.written, claim.end)
    claim.leave()
  }

  /** Ends a lap that failed, and with it all that come after it: their positions are free again, and rings hold what they held. */
  fail (claim: Claim, reason: unknown): void {
    const at = this.inFlight.indexOf(claim)
    if (at < 0) return // it failed with one before it
    for (const failed of this.inFlight.splice(at).reverse()) {
      for (const [layer, replaced] of failed.replaced) this.layers[layer].write(replaced, failed.start, failed.tokens)
      failed.fail(reason)
    }
    this.inFlight.at(-1)?.follow(undefined)
  }

  /** Whether `truncate` to `length` would be possible now. */
  canTruncate (length: number): boolean {
    return this.inFlight.length === 0 && length >= 0 && length <= this.committed && (this.written <= this.limit.sliding || this.written - length <= RING_SLACK)
  }

  /** Forgets the positions from `length` on. @throws RangeError when a ring no longer holds what the window needs, or laps are in flight */
  truncate (length: number): void {
    if (this.inFlight.length > 0) throw new RangeError('cannot truncate while laps are in flight')
    if (length > this.committed || length < 0) throw new RangeError(`cannot truncate ${this.committed} positions to ${length}`)
    if (this.written > this.limit.sliding && this.written - length > RING_SLACK) throw new RangeError(`cannot take back more than ${RING_SLACK} tokens`)
    this.committed = length
    this.contributors.truncate(length)
  }

  /** Goes back to `length`, or to the beginning where a ring no longer holds what that needs; no lap may be in flight. */
  rewind (length: number): void {
    if (this.canTruncate(length)) return this.truncate(length)
    if (this.inFlight.length > 0) throw new RangeError('cannot rewind while laps are in flight')
    this.committed = this.written = 0
    this.contributors.truncate(0)
  }

  /** Keeps of the positions from `start` on these, in ascending order, one behind the other, and forgets the others. @throws RangeError as `truncate` */
  keep (start: number, rows: readonly number[]): void {
    for (const layer of this.layers) {
      for (const [i, row] of rows.entries()) if (row !== i) layer.write(layer.read(start + row, 1), start + i, 1)
    }
    this.truncate(start + rows.length)
  }

  /** For the queries of a lap: key <= query, and on sliding layers query - key < window. */
  private masks (type: LayerType, claim: Claim, capacity: number): Masks {
    const made = claim.masks[type]
    if (made?.cache.dims[1] === capacity) return made
    const { start, tokens, positions } = claim
    const window = type === 'sliding' ? this.config.slidingWindow : Infinity
    const cache = new Float32Array(tokens * capacity).fill(-Infinity)
    const fresh = new Float32Array(tokens * tokens).fill(-Infinity)
    for (let t = 0; t < tokens; t++) {
      const query = positions[t]
      for (let key = Math.max(0, start - capacity, query - window + 1); key < start; key++) cache[t * capacity + key % capacity] = 0
      for (let key = t; key >= 0 && query - positions[key] < window; key = claim.parent(key)) fresh[t * tokens + key] = 0
    }
    return claim.masks[type] = {
      cache: f32Tensor(cache, [tokens, capacity]),
      fresh: f32Tensor(fresh, [tokens, tokens]),
      split: i64Tensor(capacity, tokens)
    }
  }
}
