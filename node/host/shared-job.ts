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
  /** 1 for an expert that a thread has claimed; behind them the number of those that are computed. */
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

  constructor (private readonly job: ComputeJob) {
    const { memory, experts, assignments, tokens, hiddenSize } = job
    let at = 0
    const place = <T>(View: new (memory: SharedArrayBuffer, at: number, length: number) => T, bytes: number, length: number): T => {
      const view = new View(memory, at, length)
      at += bytes * length
      return view
    }
    // The widest first: each is aligned.
    this.claims = place(Int32Array, 4, experts + 1)
    this.weights = place(Float32Array, 4, assignments)
    this.hidden = place(Float32Array, 4, tokens * hiddenSize)
    this.products = place(Float32Array, 4, assignments * hiddenSize)
    this.experts = place(Uint16Array, 2, experts)
    this.counts = place(Uint16Array, 2, experts)
    this.rows = place(Uint16Array, 2, assignments)
  }

  /** Writes a batch to memory that `reserve` gives, at least as large as it is asked for. */
  static of (batch: ExpertBatch, reserve: (bytes: number) => SharedArrayBuffer): { job: ComputeJob, experts: Uint16Array } {
    const { layer, tokens, hidden } = batch
    const groups = byExpert(batch)
    const [experts, assignments] = [groups.experts.length, groups.rows.length]
    const bytes = 4 * (experts + 1 + assignments + hidden.length + assignments * hidden.length / tokens) + 2 * (2 * experts + assignments)
    const job: ComputeJob = { kind: 'compute', layer, tokens, experts, assignments, hiddenSize: hidden.length / tokens, memory: reserve(bytes) }
    const shared = new SharedJob(job)
    shared.claims.fill(0)
    shared.hidden.set(hidden)
    shared.experts.set(groups.experts)
    shared.counts.set(groups.counts)
    shared.rows.set(groups.rows)
    shared.weights.set(groups.weights)
    return { job, experts: groups.experts }
  }

  /** Whether expert i is the caller's to compute. */
  claim (i: number): boolean {
    return Atomics.exchange(this.claims, i, 1) === 0
  }

  /**
   * Keeps what expert i, whose assignments begin at `first`, made of its rows: [rows, H]. Times the weight, rounded to f32 first, as the reference does.
   * @returns true of the last expert
   */
  keep (i: number, first: number, output: Float32Array): boolean {
    const { products, weights, job: { hiddenSize, experts } } = this
    let from = 0
    for (let at = first; at < first + this.counts[i]; at++) {
      const weight = weights[at]
      for (const end = from + hiddenSize, to = at * hiddenSize - from; from < end; from++) products[to + from] = weight * output[from]
    }
    return Atomics.add(this.claims, experts, 1) + 1 === experts
  }

  /** [tokens, H] */
  sum (): Float32Array {
    const { products, rows, job: { tokens, assignments, hiddenSize } } = this
    const sum = new Float32Array(tokens * hiddenSize)
    let from = 0
    for (let at = 0; at < assignments; at++) {
      for (const end = from + hiddenSize, to = rows[at] * hiddenSize - from; from < end; from++) sum[to + from] += products[from]
    }
    return sum
  }
}
