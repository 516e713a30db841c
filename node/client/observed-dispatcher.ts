import type { DispatchResult, DispatchTiming, ExpertBatch, ExpertDispatcher } from '../../swarm/index.js'

/** The experts of a layer were asked for, or have answered. */
export type LayerEvent =
  | { type: 'asked', layer: number, tokens: number }
  | { type: 'answered', layer: number, tokens: number, ms: number, timing: DispatchTiming }

/** Tells what passes through a dispatcher, for a view of the traffic. */
export class ObservedDispatcher implements ExpertDispatcher {
  constructor (private readonly inner: ExpertDispatcher, private readonly onLayer: (event: LayerEvent) => void) {}

  dispatch (batch: ExpertBatch, signal?: AbortSignal): Promise<DispatchResult> {
    const { layer, tokens } = batch
    const start = performance.now()
    const result = this.inner.dispatch(batch, signal)
    this.onLayer({ type: 'asked', layer, tokens })
    result.then(({ timing }) => { this.onLayer({ type: 'answered', layer, tokens, ms: performance.now() - start, timing }) }, () => { /* the caller hears of it */ })
    return result
  }

  sharesCores (layer: number): boolean { return this.inner.sharesCores?.(layer) === true }
}
