import type { DispatchResult, DispatchTiming, ExpertBatch, ExpertDispatcher } from '../../swarm/index.js'

/** The experts of a layer were asked for, or have answered. */
export type LayerEvent =
  | { type: 'asked', layer: number, tokens: number }
  | { type: 'answered', layer: number, tokens: number, ms: number, timing: DispatchTiming }

export interface Observation {
  /** Called twice per layer of each lap. */
  onLayer?: (event: LayerEvent) => void
  /** W3C trace id that batches get. */
  traceId?: string
}

/** Tells what passes through a dispatcher, for a view of the traffic, and names it for others that do. */
export class ObservedDispatcher implements ExpertDispatcher {
  constructor (private readonly inner: ExpertDispatcher, private readonly observation: Observation) {}

  dispatch (batch: ExpertBatch, signal?: AbortSignal): Promise<DispatchResult> {
    const { layer, tokens } = batch
    const { onLayer, traceId } = this.observation
    const start = performance.now()
    const result = this.inner.dispatch(traceId === undefined ? batch : { ...batch, traceId }, signal)
    if (onLayer === undefined) return result
    onLayer({ type: 'asked', layer, tokens })
    result.then(({ timing }) => { onLayer({ type: 'answered', layer, tokens, ms: performance.now() - start, timing }) }, () => { /* the caller hears of it */ })
    return result
  }

  sharesCores (layer: number): boolean { return this.inner.sharesCores?.(layer) === true }
}
