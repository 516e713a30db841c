export { createSwarmHost } from './host.js'
export type { SwarmHost, SwarmHostInit } from './host.js'
export { connectSwarm } from './client.js'
export type { ConnectSwarmInit, LayerCoverage, PeerStats, SwarmConnection, SwarmDispatcher } from './client.js'
export { serveExperts } from './peer.js'
export type { ServeExpertsInit, ServingPeer } from './peer.js'
export { SwarmError, isSwarmError } from './errors.js'
export type { SwarmErrorCode, SwarmErrorData } from './errors.js'
export type { OnSwarmEvent, SwarmEvent } from './events.js'
export type {
  DispatchResult, DispatchTiming, ExpertBatch, ExpertCompute, ExpertDispatcher, ExpertSum, HostedBlock, WireDtype
} from './interface.js'
