import type { ExpertBatch } from '../../swarm/index.js'
import { byExpert } from './batch.js'

/** Where the parts of a job lie in its memory: the message to a thread. */
export interface ComputeJob {
  kind: 'compute'
  layer: number
  tokens: number
  /** Different experts of the job. */
  experts: number
  /** Token and expert, of all tokens. */
  assignments: number
  hiddenSize: number
  memory: SharedArrayBuffer
}

/**
 * A job in memory that the threads of a host share. Each of them claims experts of those that it holds, one at a time, until none is left: no thread waits while another has
 * two to do. What an expert makes of a row has a place of its own, and whoever completes the last expert adds the places up, by ascending expert: sums have the same
 * bits whoever computed what, and in whatever company.
 */
export class SharedJob {
  /** 1 for an expert that a thread has claimed; behind them the number of those that are computed, and 1 when they are added up. */
  private readonly claims: Int32Array
  /** [experts], ascending */
  readonly experts: Uint16Array
  /** [experts] Tokens of each. Expert i owns the next `counts[i]` entries of `rows`, `weights` and `products`. */
  readonly counts: Uint16Array
  /** [assignments] Token of each, ascending within an expert. */
  readonly rows: Uint16Array
  /** [assignments] */
  readonly weights: Float32Array
  /** [tokens, H] */
  readonly hidden: Float32Array
  /** [assignments, H] */
  private readonly products: Float32Array
  /** [tokens, H] */
  private readonly sums: Float32Array

  constructor (readonly job: ComputeJob) {
    const { memory, experts, assignments, tokens, hiddenSize } = job
    let at = 0
    const place = <T>(View: new (memory: SharedArrayBuffer, at: number, length: number) => T, bytes: number, length: number): T => {
      const view = new View(memory, at, length)
      at += bytes * length
      return view
    }
    // The widest first: each is aligned.
    this.claims = place(Int32Array, 4, experts + 2)
    this.weights = place(Float32Array, 4, assignments)
    this.hidden = place(Float32Array, 4, tokens * hiddenSize)
    this.products = place(Float32Array, 4, assignments * hiddenSize)
    this.sums = place(Float32Array, 4, tokens * hiddenSize)
    this.experts = place(Uint16Array, 2, experts)
    this.counts = place(Uint16Array, 2, experts)
    this.rows = place(Uint16Array, 2, assignments)
  }

  /** Writes a batch to memory that `reserve` gives, at least as large as it is asked for. */
  static of (batch: ExpertBatch, reserve: (bytes: number) => SharedArrayBuffer): SharedJob {
    const { layer, tokens, hidden } = batch
    const groups = byExpert(batch)
    const [experts, assignments] = [groups.experts.length, groups.rows.length]
    const bytes = 4 * (experts + 2 + assignments + 2 * hidden.length + assignments * hidden.length / tokens) + 2 * (2 * experts + assignments)
    const shared = new SharedJob({ kind: 'compute', layer, tokens, experts, assignments, hiddenSize: hidden.length / tokens, memory: reserve(bytes) })
    shared.claims.fill(0)
    shared.hidden.set(hidden)
    shared.experts.set(groups.experts)
    shared.counts.set(groups.counts)
    shared.rows.set(groups.rows)
    shared.weights.set(groups.weights)
    return shared
  }

  /** Whether expert i is the caller's to compute. */
  claim (i: number): boolean {
    return Atomics.exchange(this.claims, i, 1) === 0
  }

  /** Keeps what an expert whose assignments begin at `first` made of its rows: [rows, H]. After the last expert all is added up, and who waits is woken. */
  keep (first: number, output: Float32Array): void {
    const { claims, products, job: { hiddenSize, experts } } = this
    products.set(output, first * hiddenSize)
    if (Atomics.add(claims, experts, 1) + 1 < experts) return
    this.addUp()
    Atomics.store(claims, experts + 1, 1)
    Atomics.notify(claims, experts + 1)
  }

  /** Whether all is added up; blocks the calling thread until then, or for so long. */
  done (withinMs = 0): boolean {
    const { claims, job: { experts } } = this
    return Atomics.load(claims, experts + 1) === 1 || Atomics.wait(claims, experts + 1, 0, withinMs) !== 'timed-out'
  }

  /** A copy of [tokens, H]. */
  sum (): Float32Array {
    return new Float32Array(this.sums)
  }

  /** In float64, which JavaScript computes in: to round every product and sum to float32 takes three times as long. */
  private addUp (): void {
    const { products, rows, weights, sums, job: { tokens, assignments, hiddenSize: H } } = this
    const ofTokens = Array.from({ length: tokens }, (): number[] => [])
    for (let at = 0; at < assignments; at++) ofTokens[rows[at]].push(at)
    const sum = new Float64Array(H)
    for (const [token, places] of ofTokens.entries()) {
      sum.fill(0)
      let i = 0
      for (; i + 4 <= places.length; i += 4) {
        const [a, b, c, d] = places.slice(i, i + 4)
        addFour(sum, products, a * H, weights[a], b * H, weights[b], c * H, weights[c], d * H, weights[d])
      }
      for (; i < places.length; i++) addOne(sum, products, places[i] * H, weights[places[i]])
      sums.set(sum, token * H)
    }
  }
}

/** Adds four rows of x, which begin at a, b, c and d, times their weights: a sum is read and written a quarter as often. */
function addFour (sum: Float64Array, x: Float32Array, a: number, ofA: number, b: number, ofB: number, c: number, ofC: number, d: number, ofD: number): void {
  for (let k = 0; k < sum.length; k++) sum[k] += ofA * x[a + k] + ofB * x[b + k] + ofC * x[c + k] + ofD * x[d + k]
}

function addOne (sum: Float64Array, x: Float32Array, a: number, ofA: number): void {
  for (let k = 0; k < sum.length; k++) sum[k] += ofA * x[a + k]
}
