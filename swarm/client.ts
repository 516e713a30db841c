import type { SwarmHost } from './host.js'
import type { OnSwarmEvent } from './events.js'
import type { ExpertDispatcher, WireDtype } from './interface.js'

export interface ConnectSwarmInit {
  host: SwarmHost
  /** 64 hex digits. */
  modelId: string
  hiddenSize: number
  /** Experts a layer of the model has. */
  experts: number
  /** The layers whose experts shall be computed by the swarm. */
  layers: number[]
  /** @default 'fp16' */
  wire?: WireDtype
  /** How long a request waits for somebody to hold its experts. @default DEFAULT_PATIENCE_MS */
  patienceMs?: number
  /** @default MANIFEST_INTERVAL_MS */
  manifestIntervalMs?: number
  onEvent?: OnSwarmEvent
}

/** Live replicas of the experts of a layer. */
export interface LayerCoverage {
  layer: number
  /** [experts] */
  replicas: number[]
}

/** What a peer did for us since we connected. Times in milliseconds. */
export interface PeerStats {
  peerId: string
  requests: number
  tokens: number
  /** Ascending. */
  layers: number[]
  failures: number
  /** Smoothed round trip without queue and service; NaN before the first measurement. */
  latencyMs: number
  /** Mean of the served requests. */
  queueMs: number
  serviceMs: number
}

export interface SwarmDispatcher extends ExpertDispatcher {
  peerStats: () => PeerStats[]
}

export interface SwarmConnection {
  readonly dispatcher: SwarmDispatcher
  /** By layer, of the layers asked for, counting peers that are ready to serve. */
  coverage: () => LayerCoverage[]
  /**
   * Waits until live peers cover every expert of every layer asked for.
   * Throws SwarmError 'coverage-incomplete' naming what is missing after `timeoutMs`, or 'aborted'.
   */
  ready: (options?: { signal?: AbortSignal, timeoutMs?: number }) => Promise<void>
  /** Closes streams and timers; the host goes on. */
  stop: () => Promise<void>
}

/** Connects to the peers that serve a model. Returns at once; `ready` waits for them. */
export declare function connectSwarm (init: ConnectSwarmInit): SwarmConnection
