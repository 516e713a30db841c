import type { Libp2p, PeerId } from '@libp2p/interface'
import * as limits from '../constants.js'
import { within } from '../deadline.js'
import { SwarmError } from '../errors.js'
import { checkBlocks } from '../expert/hosted.js'
import type { SwarmServices } from '../host.js'
import type { WireDtype } from '../interface.js'
import type { LatencyEstimate } from '../selection/latency.js'
import { fetchManifest } from './manifest-protocol.js'
import type { PeerManifest } from './manifest.js'

/** What a peer must be to be of use. */
export interface ProbeInit {
  libp2p: Libp2p<SwarmServices>
  modelId: string
  experts: number
  wire: WireDtype
}

export interface ProbedPeer {
  readonly id: PeerId
  /** Gets the round trip. */
  readonly latency: LatencyEstimate
  /** Manifests before this one are refused. */
  readonly sequence: number
}

/**
 * Asks a peer for its manifest, dialling it where it is not connected, and measures the round trip.
 * @throws SwarmError 'unreachable', 'aborted', and what is wrong with its manifest: 'wrong-model', 'wrong-wire', 'malformed', ...
 */
export async function probe ({ libp2p, modelId, experts, wire }: ProbeInit, { id, latency, sequence }: ProbedPeer, signal: AbortSignal): Promise<PeerManifest> {
  // Each step has its own time: dialling, fetching and two pings are a dozen round trips, and 250 ms of those would be too late in one.
  const ping = async (): Promise<number> => {
    using limit = within(limits.MANIFEST_FETCH_TIMEOUT_MS, signal)
    return await libp2p.services.ping.ping(id, { signal: limit.signal })
  }
  if (libp2p.getConnections(id).length === 0) {
    using limit = within(limits.DIAL_TIMEOUT_MS, signal)
    await libp2p.dial(id, { signal: limit.signal }).catch((error: unknown) => {
      throw new SwarmError('unreachable', `Peer ${id.toString()} does not answer.`, { addresses: [id.toString()] }, { cause: error })
    })
  }
  using limit = within(limits.MANIFEST_FETCH_TIMEOUT_MS, signal)
  const manifest = await fetchManifest(libp2p, id, sequence, limit.signal)
  if (manifest.modelId !== modelId) throw new SwarmError('wrong-model', 'The peer serves another model.', { modelId: manifest.modelId })
  if (!manifest.wires.includes(wire)) throw new SwarmError('wrong-wire', `The peer does not take ${wire} on the wire.`, { wire })
  checkBlocks(manifest.blocks, experts, limits.MAX_LAYERS)
  // The first round trip on a new connection also pays for setting it up, on both machines.
  if (Number.isNaN(latency.roundTripMs)) await ping()
  latency.addRoundTrip(await ping())
  return manifest
}
