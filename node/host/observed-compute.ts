import type { ExpertBatch, ExpertCompute, ExpertSum } from '../../swarm/index.js'
import type { LayerEvent } from '../client/observation.js'

/** A batch that was computed. */
export interface ServedBatch {
  layer: number
  tokens: number
  /** Tokens times their experts. */
  assignments: number
  queueMicros: number
  serviceMicros: number
}

export interface ComputeObservers {
  /** Called twice per batch, for a view of the traffic. */
  onLayer?: (event: LayerEvent) => void
  /** Called for each batch that was computed, for metrics. */
  onServed?: (batch: ServedBatch) => void
}

/** Tells what a peer computes for others. */
export class ObservedCompute implements ExpertCompute {
  constructor (private readonly inner: ExpertCompute, private readonly observers: ComputeObservers) {}

  get load (): number { return this.inner.load }
  get capacity (): number { return this.inner.capacity }

  async compute (batch: ExpertBatch, signal?: AbortSignal): Promise<ExpertSum> {
    const { onLayer, onServed } = this.observers
    const { layer, tokens } = batch
    const start = performance.now()
    onLayer?.({ type: 'asked', layer, tokens })
    const result = await this.inner.compute(batch, signal)
    const { queueMicros, serviceMicros } = result
    const timing = { encodeMs: 0, networkMs: 0, queueMs: queueMicros / 1000, serviceMs: serviceMicros / 1000, decodeMs: 0, combineMs: 0 }
    onLayer?.({ type: 'answered', layer, tokens, ms: performance.now() - start, timing })
    onServed?.({ layer, tokens, assignments: batch.experts.length, queueMicros, serviceMicros })
    return result
  }
}
