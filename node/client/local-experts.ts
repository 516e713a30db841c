import type { DispatchResult, ExpertBatch, ExpertCompute, ExpertDispatcher } from '../../swarm/index.js'

/** The dispatcher that needs no network: an expert host of this process. */
export class LocalExperts implements ExpertDispatcher {
  constructor (private readonly host: ExpertCompute) {}

  async dispatch (batch: ExpertBatch, signal?: AbortSignal): Promise<DispatchResult> {
    const { sum, queueMicros, serviceMicros } = await this.host.compute(batch, signal)
    return { sum, timing: { encodeMs: 0, networkMs: 0, queueMs: queueMicros / 1000, serviceMs: serviceMicros / 1000, decodeMs: 0, combineMs: 0 } }
  }
}

/** Layers in `localLayers` are computed by `local`, the others by `remote`. */
export class SplitDispatcher implements ExpertDispatcher {
  constructor (private readonly localLayers: ReadonlySet<number>, private readonly local: ExpertDispatcher, private readonly remote: ExpertDispatcher) {}

  dispatch (batch: ExpertBatch, signal?: AbortSignal): Promise<DispatchResult> {
    return (this.localLayers.has(batch.layer) ? this.local : this.remote).dispatch(batch, signal)
  }
}
