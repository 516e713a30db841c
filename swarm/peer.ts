import type { SwarmHost } from './host.js'
import type { OnSwarmEvent } from './events.js'
import type { ExpertCompute, HostedBlock, WireDtype } from './interface.js'

export interface ServeExpertsInit {
  host: SwarmHost
  /** 64 hex digits. */
  modelId: string
  hiddenSize: number
  /** Experts a layer of the model has. */
  experts: number
  /** Layers of the model. */
  layers: number
  blocks: HostedBlock[]
  compute: ExpertCompute
  /** Told to others in the manifest, e.g. 'moeswarm/0.1.0'. */
  version: string
  /** @default all */
  wire?: WireDtype[]
  onEvent?: OnSwarmEvent
}

export interface ServingPeer {
  /** Finishes the requests in flight, refuses new ones, withdraws the announcement. The host goes on. */
  stop: () => Promise<void>
}

/**
 * Serves experts to the swarm: returns once the expert protocol answers and the provider records are on the DHT.
 * Throws SwarmError 'bad-argument' when a block lies outside of the model.
 */
export declare function serveExperts (init: ServeExpertsInit): Promise<ServingPeer>
