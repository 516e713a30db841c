export { createSwarmHost } from './host.js'
export type { SwarmHost, SwarmHostInit } from './host.js'
export { connectSwarm } from './client.js'
export type { ConnectSwarmInit, LayerCoverage, SwarmConnection } from './client.js'
export type { LayerChoice, SwarmDispatcher, TwinReply } from './expert/dispatcher.js'
export type { PeerStats } from './expert/peer-stats.js'
export type { LivePeer, PeerDirectory } from './directory/directory.js'
export type { PeerManifest } from './directory/manifest.js'
export { serveExperts } from './peer.js'
export type { ServeExpertsInit, ServingPeer } from './peer.js'
export { SwarmError, asSwarmError, isSwarmError } from './errors.js'
export type { SwarmErrorCode, SwarmErrorData } from './errors.js'
export type { OnSwarmEvent, SwarmEvent } from './events.js'
export type {
  DispatchResult, DispatchTiming, ExpertBatch, ExpertCompute, ExpertDispatcher, ExpertSum, HostedBlock, WireChoice, WireDtype
} from './interface.js'
export { SwarmInspector } from './inspect.js'
export type { InspectedPeer, InspectOptions, LookupHop } from './inspect.js'
export { formatRanges } from './ranges.js'
export { coverageMap } from './directory/coverage.js'
export type { CoverageCell } from './directory/coverage.js'
export { blocksKey, layerKey, modelKey } from './dht/keys.js'
export type { RoutingBucket } from './dht/routing-table.js'
export { connectBlocks } from './blocks/connect.js'
export { FileStore } from './blocks/file-store.js'
export { serveBlocks } from './blocks/service.js'
export type {
  BlockCounters, BlocksConnection, BlockSink, BlockSource, ConnectBlocksInit, ContentFile, FetchFilesOptions, FetchOptions, FetchProgress, FileStoreInit,
  ServeBlocksInit, ServingBlocks, SinkFile
} from './blocks/interface.js'
export { BLOCK_CHUNK_BYTES } from './constants.js'
export { withHolders } from './selection/holders.js'
export { planPlacement } from './selection/placement.js'
export type {
  BlockHolder, PlacementBlock, PlacementInput, PlacementPlan, PlacementReason, PlacementRest, PlacementState
} from './selection/placement.js'
