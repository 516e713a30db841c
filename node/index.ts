/** moeswarm's library: a client that generates, a peer that donates. The command line uses only this. */
export { SwarmClient, type SwarmClientInit } from './swarm-client.js'
export { SwarmPeer, type SwarmPeerInit } from './swarm-peer.js'
export type { FinishReason, GenerateEvent, GenerateOptions, Generation } from './client/generate.js'
export type { LapTimes } from './client/lap-profile.js'
export type { SamplingOptions } from './client/sampler.js'
export { Bundle, type ChatMessage, convertCheckpoint, ModelError, type ModelErrorCode } from '../model-tools/index.js'
export { type PeerStats, SwarmError, type SwarmErrorCode, type SwarmEvent, type WireDtype } from '../swarm/index.js'
