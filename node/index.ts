/** moeswarm's library: a client that generates, a peer that donates, what inspects a swarm. The command line uses only this. */
export { type Device, DEVICES } from './device.js'
export { type GenerateInit, SwarmClient, type SwarmClientInit } from './swarm-client.js'
export { type DonateInit, type PeerState, type PeerStatus, SwarmPeer, type SwarmPeerInit } from './swarm-peer.js'
export { ApiServer, type ServeInit, type ServeLimits } from './serve/api-server.js'
export { Dashboard, type DashboardInit } from './serve/dashboard.js'
export { isLoopback } from './serve/access.js'
export { type Answer, type Piece, runGeneration, type RunInit } from './serve/generation-run.js'
export type { RequestLog } from './serve/http-listener.js'
export { TrafficMonitor } from './serve/traffic-monitor.js'
export { liarRecord } from './client-audit.js'
export { isModelId, modelDirectory, modelsDirectory } from './bundle-store.js'
export { isNotFound, isPath, keptModels, type KnownModel, known, openModel, servedModel, servedModels } from './models.js'
export { returnLargePieces } from './host/allocator.js'
export { VERSION } from './version.js'
export { type BundlePart, fetchBundle, type FetchBundleInit } from './fetch-bundle.js'
export { ClientMetrics, type MetricsServer, PeerMetrics, serveMetrics, type ServeMetricsInit } from './metrics/index.js'
export { Doctor, type DoctorInit, type Finding } from './doctor/index.js'
export { explain, type GenerationTrace, GenerationTraces, type Segment, SEGMENTS, type TracedLayer, traceHtml, TraceRecorder, TraceStore, traceSvg, type TracedClient, waterfall } from './trace/index.js'
export type { DonationEvent } from './donation.js'
export type { FinishReason, GenerateEvent, GenerateOptions, Generation } from './client/generate.js'
export type { LapTimes, LayerTimes } from './client/lap-profile.js'
export type { StepLogProbabilities, TokenLogProbability } from './client/log-probabilities.js'
export type { LayerEvent } from './client/observation.js'
export type { SamplingOptions } from './client/sampler.js'
export { newGenerationId, type SavedGeneration, SavedGenerations } from './client/saved-generation.js'
export { chain, type Draft, DRAFT_CHOICES, type DraftChoice, type DraftContext, type Drafter, type DrafterName, type SpeculationOptions, type SpeculationSummary } from './client/speculation/index.js'
export {
  type BlockEntry, Bundle, type ChatMessage, checkpointFile, type ConversionProgress, convertCheckpoint, counted, formatBytes, type ModelConfig, ModelError, type ModelErrorCode, parseRanges, SHAPE_NAMES, synthesize, SYNTHESIS_FORMATS,
  type SynthesisFormat, type ToolCall, type WeightFormat
} from '../model-tools/index.js'
export {
  asSwarmError, type AuditCounters, type CoverageCell, createSwarmHost, createSwarmKey, type SwarmHost, DEFAULT_PEER_LIMITS, formatRanges, type InspectedPeer, isSwarmError, type LayerChoice, LiarRecord, type LivePeer, type LookupHop, newTraceId, type OnSwarmEvent, parseTraceId,
  type PeerLimits, type PeerStats, type Proof, readSwarmKey, type SwarmChange, SwarmError, type SwarmErrorCode, type SwarmErrorData, type SwarmEvent, SwarmInspector, type SwarmSnapshot, SwarmWatch, type WatchedPeer,
  type WireChoice, type WireDtype, writeSwarmKey
} from '../swarm/index.js'
