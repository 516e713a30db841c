import type { LayerTimes } from './trace.js'

/** Parts of a layer's time, in the order in which they happen. */
export const SEGMENTS = ['attention', 'network', 'queue', 'experts', 'other'] as const
export type Segment = typeof SEGMENTS[number]

export interface WaterfallRow {
  layer: number
  /** Since the start of the lap. */
  startMs: number
  parts: Array<{ segment: Segment, ms: number }>
  ms: number
}

/** A layer's mean time by its parts. */
export function segmentsOf ({ beforeMs, exchangeMs, networkMs, queueMs, serviceMs }: LayerTimes): Record<Segment, number> {
  return { attention: beforeMs, network: networkMs, queue: queueMs, experts: serviceMs, other: Math.max(0, exchangeMs - networkMs - queueMs - serviceMs) }
}

/** The layers of an average lap, one behind the other. */
export function waterfall (layers: LayerTimes[]): WaterfallRow[] {
  let startMs = 0
  return layers.map(times => {
    const by = segmentsOf(times)
    const parts = SEGMENTS.map(segment => ({ segment, ms: by[segment] }))
    const ms = parts.reduce((sum, part) => sum + part.ms, 0)
    const row = { layer: times.layer, startMs, parts, ms }
    startMs += ms
    return row
  })
}
