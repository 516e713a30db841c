import type { LayerType, ModelConfig } from '../../model-tools/index.js'
import { f32Tensor, type Tensor } from '../onnx-session.js'

/** Positions of a new cache; it doubles when they are full. */
const INITIAL_CAPACITY = 128

/** Positions by which a sliding layer's ring exceeds the window: the longest chunk, and the longest roll-back. */
export const RING_SLACK = 128

/** Keys and values of one layer, [kvHeads, capacity, headDim] each, read in place by the attention graph. */
class LayerCache {
  private keys: Float32Array
  private values: Float32Array
  keyTensor: Tensor
  valueTensor: Tensor

  constructor (private readonly kvHeads: number, private readonly headDim: number, private capacity: number) {
    this.keys = new Float32Array(kvHeads * capacity * headDim)
    this.values = new Float32Array(kvHeads * capacity * headDim)
    this.keyTensor = this.tensor(this.keys)
    this.valueTensor = this.tensor(this.values)
  }

  grow (capacity: number): void {
    const wider = (old: Float32Array): Float32Array => {
      const next = new Float32Array(this.kvHeads * capacity * this.headDim)
      const stride = this.capacity * this.headDim
      for (let head = 0; head < this.kvHeads; head++) next.set(old.subarray(head * stride, (head + 1) * stride), head * capacity * this.headDim)
      return next
    }
    this.keys = wider(this.keys)
    this.values = wider(this.values)
    this.capacity = capacity
    this.keyTensor = this.tensor(this.keys)
    this.valueTensor = this.tensor(this.values)
  }

  /** Writes [kvHeads, tokens, headDim] at the slots of positions start, start + 1, ...; a ring keeps the last `capacity`. */
  write (newKeys: Float32Array, newValues: Float32Array, start: number, tokens: number): void {
    const { headDim, capacity } = this
    for (let head = 0; head < this.kvHeads; head++) {
      for (let t = Math.max(0, tokens - capacity); t < tokens; t++) {
        const from = (head * tokens + t) * headDim
        const to = (head * capacity + (start + t) % capacity) * headDim
        this.keys.set(newKeys.subarray(from, from + headDim), to)
        this.values.set(newValues.subarray(from, from + headDim), to)
      }
    }
  }

  private tensor (data: Float32Array): Tensor {
    return f32Tensor(data, [this.kvHeads, this.capacity, this.headDim])
  }
}

/** Masks of one layer type for one lap, shared by all layers of that type. */
export interface Masks {
  /** [tokens, capacity] */
  cache: Tensor
  /** [tokens, tokens] */
  fresh: Tensor
}

/**
 * The KV cache of one sequence. Full layers hold every position, sliding layers a ring of window + RING_SLACK. It grows by
 * doubling; nothing is copied per token. Positions at and after `length` are free, so a roll-back is a change of length.
 */
export class KvCache {
  private readonly layers: LayerCache[]
  private readonly capacity: Record<LayerType, number>
  private readonly limit: Record<LayerType, number>
  private committed = 0
  /** One past the last position ever written: beyond it a ring has lost nothing. */
  private written = 0

  constructor (private readonly config: ModelConfig) {
    this.limit = { full: config.maxPositions, sliding: Math.min(config.maxPositions, config.slidingWindow + RING_SLACK) }
    this.capacity = { full: Math.min(INITIAL_CAPACITY, this.limit.full), sliding: Math.min(INITIAL_CAPACITY, this.limit.sliding) }
    this.layers = config.layerTypes.map(type =>
      new LayerCache(config.attention[type].kvHeads, config.attention[type].headDim, this.capacity[type]))
  }

  /** Committed positions. */
  get length (): number { return this.committed }

  layer (index: number): LayerCache { return this.layers[index] }

  /** Makes room for `tokens` positions after `length`. @throws RangeError past the model's context or RING_SLACK */
  reserve (tokens: number): void {
    if (this.committed + tokens > this.config.maxPositions) throw new RangeError(`${this.committed + tokens} positions exceed the context of ${this.config.maxPositions}`)
    if (tokens > RING_SLACK) throw new RangeError(`a chunk of ${tokens} tokens exceeds ${RING_SLACK}`)
    this.written = Math.max(this.written, this.committed + tokens)
    for (const type of ['sliding', 'full'] as const) {
      let capacity = this.capacity[type]
      while (capacity < this.limit[type] && capacity < this.committed + tokens) capacity = Math.min(capacity * 2, this.limit[type])
      if (capacity === this.capacity[type]) continue
      this.capacity[type] = capacity
      this.layers.forEach((layer, i) => { if (this.config.layerTypes[i] === type) layer.grow(capacity) })
    }
  }

  commit (tokens: number): void { this.committed += tokens }

  /** Forgets the positions from `length` on. @throws RangeError when a ring no longer holds what the window needs */
  truncate (length: number): void {
    if (length > this.committed || length < 0) throw new RangeError(`cannot truncate ${this.committed} positions to ${length}`)
    if (this.written > this.limit.sliding && this.written - length > RING_SLACK) throw new RangeError(`cannot take back more than ${RING_SLACK} tokens`)
    this.committed = length
  }

  /** For the queries at positions length, length + 1, ...: key <= query, and on sliding layers query - key < window. */
  masks (type: LayerType, tokens: number): Masks {
    const window = type === 'sliding' ? this.config.slidingWindow : Infinity
    const capacity = this.capacity[type]
    const cache = new Float32Array(tokens * capacity).fill(-Infinity)
    const fresh = new Float32Array(tokens * tokens).fill(-Infinity)
    for (let t = 0; t < tokens; t++) {
      const query = this.committed + t
      for (let key = Math.max(0, this.committed - capacity, query - window + 1); key < this.committed; key++) cache[t * capacity + key % capacity] = 0
      for (let key = Math.max(0, t - window + 1); key <= t; key++) fresh[t * tokens + key] = 0
    }
    return { cache: f32Tensor(cache, [tokens, capacity]), fresh: f32Tensor(fresh, [tokens, tokens]) }
  }
}
