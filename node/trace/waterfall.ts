import type { TracedLayer } from './trace.js'

/** Parts of a layer's time, in the order in which they happen; 'messages' is choosing peers, sending, serialising and adding up. */
export const SEGMENTS = ['turn', 'attention', 'messages', 'dense MLP', 'network', 'queue', 'experts'] as const
export type Segment = typeof SEGMENTS[number]

export interface WaterfallRow {
  layer: number
  /** Since the start of the lap. */
  startMs: number
  parts: Array<{ segment: Segment, ms: number }>
  ms: number
}

/** A layer's mean time by its parts. */
export function segmentsOf ({ turn, attention, send, serialise, combine, denseMlp, network, queue, experts }: TracedLayer): Record<Segment, number> {
  return { turn, attention, messages: Math.max(0, send + serialise + combine), 'dense MLP': denseMlp, network, queue, experts }
}

/** The layers of an average lap, one behind the other. */
export function waterfall (layers: TracedLayer[]): WaterfallRow[] {
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
