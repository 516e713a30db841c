import type { LapTimes, LayerTimes } from '../client/lap-profile.js'
import type { FinishReason } from '../client/generate.js'
import type { PeerStats } from '../../swarm/index.js'

/** What is kept of a generation to tell why it was slow: times, layers and peers, never the text. Milliseconds. */
export interface GenerationTrace {
  format: 2
  id: string
  startedAt: string
  /** Model id. */
  model: string
  /** W3C trace id: peers that log at level debug name it too. */
  traceId: string
  /** Numbers of tokens: of the prompt, of these in a kept cache, generated, of these by an earlier run that this one went on from. */
  promptTokens: number
  cachedTokens?: number
  tokens: number
  restoredTokens?: number
  /** 'stopped': by Ctrl-C, or because the client of a server left. */
  finishReason: FinishReason | 'stopped' | 'failed'
  /** What a failed one failed with. */
  failure?: string
  /** What it waited for its turn, before everything else. */
  queuedMs?: number
  tokensPerSecond: number
  /** Without what it was queued for; absent where there is none. */
  firstTokenMs?: number
  /** Means of the decoding and of the prefill laps. */
  lap: LapTimes
  prefillLap: LapTimes
  prefillLaps?: number
  /** Of the decoding laps, and of the prefill's. */
  layers: TracedLayer[]
  prefillLayers: TracedLayer[]
  /** From the first layer's asking to the last layer's answer of the last decoding laps, at most LAPS_KEPT. */
  laps: LapTime[]
  peers: PeerStats[]
  /** Requests that a replica had to answer, and those that one was asked beside; at most INCIDENTS_KEPT. */
  incidents: Incident[]
  /** Requests by their span ids; at most SPANS_KEPT. */
  spans: Span[]
}

/** A request that a peer has answered. */
export interface Span {
  spanId: string
  peerId: string
  layer: number
  /** Since the start of the generation, of the answer. */
  atMs: number
  /** From the hand-over to the socket to the answer. */
  ms: number
  /** Other texts whose tokens it carried; absent where there were none. */
  sharedWith?: number
}

/** A layer's means over the laps. */
export interface TracedLayer extends LayerTimes {
  layer: number
  /** How often each peer was the slowest; empty where this machine computed. */
  slowest: Record<string, number>
}

export interface LapTime {
  /** Since the start of the generation. */
  atMs: number
  ms: number
}

export interface Incident {
  /** Since the start of the generation. */
  atMs: number
  type: 'request-failed' | 'request-hedged' | 'experts-waiting' | 'peer-lost'
  layer?: number
  peerId?: string
  /** Code of the error, or reason of the loss. */
  code?: string
}

export const LAPS_KEPT = 1_000
export const INCIDENTS_KEPT = 200
export const SPANS_KEPT = 1_000
