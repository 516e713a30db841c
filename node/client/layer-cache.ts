import { f32Tensor, type Tensor } from '../onnx-session.js'

/** Keys and values of some positions of one layer, [kvHeads, tokens, headDim] each. */
export interface KeysAndValues {
  keys: Float32Array
  values: Float32Array
}

/** Keys and values of one layer, [kvHeads, capacity, headDim] each, read in place by the attention graph. */
export class LayerCache {
  private keys: Float32Array
  private values: Float32Array
  keyTensor: Tensor
  valueTensor: Tensor

  constructor (private readonly kvHeads: number, private readonly headDim: number, private slots: number) {
    this.keys = new Float32Array(kvHeads * slots * headDim)
    this.values = new Float32Array(kvHeads * slots * headDim)
    this.keyTensor = this.tensor(this.keys)
    this.valueTensor = this.tensor(this.values)
  }

  /** Positions that there is room for. */
  get capacity (): number { return this.slots }

  /** Memory of keys and values. */
  get bytes (): number { return this.keys.byteLength + this.values.byteLength }

  /** The tensors of before stay as they are: a run that was given them reads what it would have read. */
  grow (capacity: number): void {
    const wider = (old: Float32Array): Float32Array => {
      const next = new Float32Array(this.kvHeads * capacity * this.headDim)
      const stride = this.slots * this.headDim
      for (let head = 0; head < this.kvHeads; head++) next.set(old.subarray(head * stride, (head + 1) * stride), head * capacity * this.headDim)
      return next
    }
    this.keys = wider(this.keys)
    this.values = wider(this.values)
    this.slots = capacity
    this.keyTensor = this.tensor(this.keys)
    this.valueTensor = this.tensor(this.values)
  }

  /** Writes [kvHeads, tokens, headDim] at the slots of positions start, start + 1, ...; a ring keeps the last `capacity`. */
  write ({ keys, values }: KeysAndValues, start: number, tokens: number): void {
    this.eachSlot(start, tokens, (from, to) => {
      this.keys.set(keys.subarray(from, from + this.headDim), to)
      this.values.set(values.subarray(from, from + this.headDim), to)
    })
  }

  /** A copy of what `write` to these positions would replace, in the form in which `write` puts it back. */
  read (start: number, tokens: number): KeysAndValues {
    const keys = new Float32Array(this.kvHeads * tokens * this.headDim)
    const values = new Float32Array(keys.length)
    this.eachSlot(start, tokens, (to, from) => {
      keys.set(this.keys.subarray(from, from + this.headDim), to)
      values.set(this.values.subarray(from, from + this.headDim), to)
    })
    return { keys, values }
  }

  /** Where a position of each head is in [kvHeads, tokens, headDim], and where in the cache. */
  private eachSlot (start: number, tokens: number, visit: (packed: number, slot: number) => void): void {
    const { headDim, slots } = this
    for (let head = 0; head < this.kvHeads; head++) {
      for (let t = Math.max(0, tokens - slots); t < tokens; t++) visit((head * tokens + t) * headDim, (head * slots + (start + t) % slots) * headDim)
    }
  }

  private tensor (data: Float32Array): Tensor {
    return f32Tensor(data, [this.kvHeads, 1, this.slots, this.headDim])
  }
}
