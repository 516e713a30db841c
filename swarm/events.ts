import type { SwarmErrorCode } from './errors.js'
import type { RequestTrace } from './trace-context.js'

/** What the swarm does, for progress, logs and metrics. Library code never prints: it calls the `onEvent` that it was given. */
export type SwarmEvent =
  | { type: 'bootstrap-failed', address: string, reason: string }
  | { type: 'announced', keys: number, tookMs: number }
  | { type: 'announce-failed', keys: number, reason: string }
  | { type: 'peer-live', peerId: string, latencyMs: number }
  | { type: 'peer-refused', peerId: string, code: SwarmErrorCode }
  | { type: 'peer-lost', peerId: string, reason: PeerLossReason }
  | { type: 'session-open', peerId: string }
  | { type: 'session-closed', peerId: string, code: SwarmErrorCode }
  | { type: 'request-failed', peerId: string, layer: number, code: SwarmErrorCode, traceIds?: readonly string[] }
  | { type: 'request-hedged', peerId: string, toPeerId: string, layer: number, traceIds?: readonly string[] }
  | { type: 'replies-disagree', layer: number, peerIds: string[], deviation: number, tolerance: number }
  | { type: 'peer-lied', peerId: string, layer: number, deviation: number, tolerance: number }
  | { type: 'liar-not-kept', peerId: string, path: string }
  | { type: 'request-answered', peerId: string, layer: number, tokens: number, tookMs: number, queueMicros: number, serviceMicros: number } & RequestTrace
  | { type: 'request-served', peerId: string, layer: number, tokens: number, queueMicros: number, serviceMicros: number } & RequestTrace
  | { type: 'experts-waiting', layer: number, experts: number[], traceIds?: readonly string[] }
  | { type: 'experts-local', layer: number, experts: number[] }
  | { type: 'request-refused', peerId: string, code: SwarmErrorCode }
  | { type: 'stream-aborted', peerId: string, code: SwarmErrorCode }
  | { type: 'blocks-peer-joined', peerId: string, files: number }
  | { type: 'blocks-peer-left', peerId: string, code: SwarmErrorCode }
  | { type: 'chunk-refused', peerId: string, path: string, chunk: number }

export type PeerLossReason = 'missed-manifests' | 'disconnected' | 'untrusted-manifest' | 'displaced' | 'lied'

export type OnSwarmEvent = (event: SwarmEvent) => void
