import { readFileSync } from 'node:fs'
import { type Bundle, decodeRows, type TensorEntry } from '../model-tools/index.js'
import type { ExpertBatch } from '../swarm/index.js'

/** The experts in plain arithmetic: decoded weights, sums in f64. */
export class PlainExperts {
  private readonly decoded = new Map<string, Float32Array>()

  constructor (private readonly bundle: Bundle) {}

  compute ({ layer, tokens, hidden, counts, experts, weights }: ExpertBatch): Float32Array {
    const { hiddenSize: H, expertIntermediateSize: I } = this.bundle.config
    const sum = new Float32Array(hidden.length)
    for (let t = 0, at = 0; t < tokens; t++) {
      const x = hidden.subarray(t * H, (t + 1) * H)
      const total = new Float64Array(H)
      for (const end = at + counts[t]; at < end; at++) {
        const { gateUp, down } = this.entry(layer, experts[at])
        const both = product(this.values(gateUp), x)
        const activated = Float64Array.from({ length: I }, (_, i) => gelu(both[i]) * both[I + i])
        const output = product(this.values(down), activated)
        for (let i = 0; i < H; i++) total[i] += weights[at] * output[i]
      }
      sum.set(total, t * H)
    }
    return sum
  }

  private entry (layer: number, expert: number): { gateUp: TensorEntry, down: TensorEntry } {
    const block = this.bundle.blocks.find(one => one.layer === layer && expert >= one.firstExpert && expert < one.firstExpert + one.experts)!
    return this.bundle.experts(block).find(one => one.expert === expert)!
  }

  private values ({ file, format, shape: [count, columns], offset, bytes, scales, zeros }: TensorEntry): Float32Array {
    const key = `${file}:${offset}`
    const known = this.decoded.get(key)
    if (known !== undefined) return known
    const content = readFileSync(this.bundle.path(file))
    const part = (of: { offset: number, bytes: number } | undefined): Uint8Array | undefined => of && Uint8Array.from(content.subarray(of.offset, of.offset + of.bytes))
    const values = decodeRows(format, { data: part({ offset, bytes })!, scales: part(scales), zeros: part(zeros) }, columns, 0, count)
    this.decoded.set(key, values)
    return values
  }
}

/** `matrix` [rows, x.length] times `x`. */
function product (matrix: Float32Array, x: Float32Array | Float64Array): Float64Array {
  const columns = x.length
  return Float64Array.from({ length: matrix.length / columns }, (_, row) => {
    let sum = 0
    for (let i = 0, at = row * columns; i < columns; i++, at++) sum += matrix[at] * x[i]
    return sum
  })
}

/** The tanh form. */
function gelu (x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
}
