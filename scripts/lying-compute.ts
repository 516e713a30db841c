import type { ExpertBatch, ExpertCompute, ExpertSum } from '../swarm/index.js'
import { seeded } from './seeded.js'

/** What a lying peer answers: the right rows with noise a tenth as large, those of other experts, or nothing at all. */
export const LIES = ['noise', 'other-expert', 'zeros'] as const
export type Lie = typeof LIES[number]

export interface LyingComputeInit {
  /** Of the replies that are lies, in [0, 1]. */
  share: number
  /** Equal seeds lie at the same replies. */
  seed: number
  /** @default 'noise' */
  lie?: Lie
  /** Noise of a value, as a share of its row's root mean square. @default 0.1 */
  noise?: number
}

/** A volunteer's compute that lies in a share of its replies, for tests and chaos alone: what a peer makes of `inner` before it answers. */
export class LyingCompute implements ExpertCompute {
  /** May be changed while it runs. */
  share: number
  /** Replies that were lies, and all. */
  lies = 0
  replies = 0
  private readonly random: () => number
  /** By layer, the experts that were asked for. */
  private readonly seen = new Map<number, Set<number>>()

  constructor (private readonly inner: ExpertCompute, private readonly init: LyingComputeInit) {
    this.share = init.share
    this.random = seeded(init.seed)
  }

  get load (): number { return this.inner.load }
  get capacity (): number { return this.inner.capacity }

  async compute (batch: ExpertBatch, signal?: AbortSignal): Promise<ExpertSum> {
    this.replies++
    if (this.random() >= this.share) return await this.inner.compute(batch, signal)
    this.lies++
    const { lie = 'noise', noise = 0.1 } = this.init
    const honest = await this.inner.compute(lie === 'other-expert' ? this.shifted(batch) : batch, signal)
    if (lie === 'other-expert') return honest
    return { ...honest, sum: lie === 'zeros' ? new Float32Array(honest.sum.length) : this.noisy(honest.sum, batch.tokens, noise) }
  }

  /** Evenly spread noise, of a standard deviation of `noise` times the row's root mean square. */
  private noisy (sum: Float32Array, tokens: number, noise: number): Float32Array {
    const width = sum.length / tokens
    const noisy = new Float32Array(sum.length)
    for (let from = 0; from < sum.length; from += width) {
      const row = sum.subarray(from, from + width)
      const spread = noise * Math.sqrt(12 * row.reduce((all, x) => all + x * x, 0) / width)
      for (let i = 0; i < width; i++) noisy[from + i] = row[i] + spread * (this.random() - 0.5)
    }
    return noisy
  }

  /** Every expert's place is taken by another one that this peer was asked for, so that the answer is a real one, of something else. */
  private shifted (batch: ExpertBatch): ExpertBatch {
    const seen = this.seen.get(batch.layer) ?? new Set()
    this.seen.set(batch.layer, seen)
    for (const expert of batch.experts) seen.add(expert)
    const order = [...seen]
    if (order.length === 1) return { ...batch, weights: batch.weights.map(weight => -weight) }
    return { ...batch, experts: batch.experts.map(expert => order[(order.indexOf(expert) + 1) % order.length]) }
  }
}

/** A volunteer that lies in a share of its replies. */
export function lyingCompute (share: number, seed: number, lie: Lie = 'noise'): (inner: ExpertCompute) => LyingCompute {
  return inner => new LyingCompute(inner, { share, seed, lie })
}
