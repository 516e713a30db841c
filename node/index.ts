/** moeswarm's library: a client that generates, a peer that donates. The command line uses only this. */
export { type GenerateInit, SwarmClient, type SwarmClientInit } from './swarm-client.js'
export { type DonateInit, type PeerStatus, SwarmPeer, type SwarmPeerInit } from './swarm-peer.js'
export { ApiServer, type ServeInit, type ServeLimits } from './serve/api-server.js'
export { Dashboard, type DashboardInit } from './serve/dashboard.js'
export type { RequestLog } from './serve/http-listener.js'
export { TrafficMonitor } from './serve/traffic-monitor.js'
export { type BundlePart, fetchBundle, type FetchBundleInit } from './fetch-bundle.js'
export type { DonationEvent } from './donation.js'
export type { FinishReason, GenerateEvent, GenerateOptions, Generation } from './client/generate.js'
export type { LapTimes } from './client/lap-profile.js'
export type { StepLogProbabilities, TokenLogProbability } from './client/log-probabilities.js'
export type { LayerEvent } from './client/observed-dispatcher.js'
export type { SamplingOptions } from './client/sampler.js'
export { DRAFT_CHOICES, type DraftChoice, type SpeculationOptions, type SpeculationSummary } from './client/speculation/index.js'
export { Bundle, type ChatMessage, convertCheckpoint, type ModelConfig, ModelError, type ModelErrorCode, type ToolCall } from '../model-tools/index.js'
export {
  asSwarmError, createSwarmKey, DEFAULT_PEER_LIMITS, isSwarmError, type LayerChoice, type LivePeer, type PeerLimits, readSwarmKey, type PeerStats, SwarmError, type SwarmErrorCode, type SwarmErrorData, type SwarmEvent, type WireChoice, type WireDtype
} from '../swarm/index.js'
