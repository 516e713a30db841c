import type { ExpertBatch, ExpertCompute, ExpertSum } from '../../swarm/index.js'
import type { LayerEvent } from '../client/observed-dispatcher.js'

/** Tells what a peer computes for others, for a view of the traffic. */
export class ObservedCompute implements ExpertCompute {
  constructor (private readonly inner: ExpertCompute, private readonly onLayer: (event: LayerEvent) => void) {}

  get load (): number { return this.inner.load }
  get capacity (): number { return this.inner.capacity }

  async compute (batch: ExpertBatch, signal?: AbortSignal): Promise<ExpertSum> {
    const { layer, tokens } = batch
    const start = performance.now()
    this.onLayer({ type: 'asked', layer, tokens })
    const result = await this.inner.compute(batch, signal)
    const timing = { encodeMs: 0, networkMs: 0, queueMs: result.queueMicros / 1000, serviceMs: result.serviceMicros / 1000, decodeMs: 0, combineMs: 0 }
    this.onLayer({ type: 'answered', layer, tokens, ms: performance.now() - start, timing })
    return result
  }
}
