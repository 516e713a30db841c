import type { DispatchResult, DispatchTiming, ExpertBatch } from '../../swarm/index.js'

/** The experts of a layer were asked for, or have answered. */
export type LayerEvent =
  | { type: 'asked', layer: number, tokens: number }
  | { type: 'answered', layer: number, tokens: number, ms: number, timing: DispatchTiming }

/** Who watches the laps of one text. */
export interface Observation {
  /** Called twice per layer of each lap. */
  onLayer?: (event: LayerEvent) => void
  /** W3C trace id by which its requests are named, also those that it shares with other texts. */
  traceId?: string
}

/** Tells that a lap has asked for a layer's experts and, later, that they have answered, whoever had a part in the request. */
export function observe ({ layer, tokens }: ExpertBatch, result: Promise<DispatchResult>, onLayer: (event: LayerEvent) => void): void {
  const start = performance.now()
  onLayer({ type: 'asked', layer, tokens })
  result.then(({ timing }) => { onLayer({ type: 'answered', layer, tokens, ms: performance.now() - start, timing }) }, () => { /* the caller hears of it */ })
}
