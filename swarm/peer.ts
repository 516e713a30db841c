import type { CID } from 'multiformats/cid'
import * as limits from './constants.js'
import { Announcer } from './directory/announce.js'
import { ManifestServer } from './directory/manifest-protocol.js'
import type { PeerManifest } from './directory/manifest.js'
import { checkModelId, layerKey, modelKey } from './dht/keys.js'
import { asSwarmError, SwarmError } from './errors.js'
import type { OnSwarmEvent } from './events.js'
import { checkBlocks, HostedExperts } from './expert/hosted.js'
import { ExpertService, type ServiceCounters, type ServiceLoad } from './expert/service.js'
import type { SwarmHost } from './host.js'
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
  /** Empty: none yet, they come with `setBlocks`. */
  blocks: HostedBlock[]
  compute: ExpertCompute
  /** Told to others in the manifest, e.g. 'moeswarm/0.1.0': at most 64 printable ASCII characters. */
  version: string
  /** @default all */
  wires?: WireDtype[]
  /** How often clients should fetch the manifest: it expires after MANIFEST_MISSES of these. @default MANIFEST_INTERVAL_MS */
  manifestIntervalMs?: number
  onEvent?: OnSwarmEvent
}

/** What a peer says that it will host, see PeerManifest. */
export type WantedBlocks = Pick<PeerManifest, 'intended' | 'fetching'>

export interface ServingPeer {
  /** Since the start. */
  readonly counters: Readonly<ServiceCounters>
  /** What clients take at the moment. */
  readonly load: ServiceLoad
  /**
   * Serves these blocks instead from now on, and says so: returns when their provider records are on the DHT. Clients see it with their next
   * manifest; until then they get 'not-hosted' for what fell away and ask a replica. Throws SwarmError 'bad-argument' like `serveExperts`.
   */
  setBlocks: (blocks: HostedBlock[]) => Promise<void>
  /**
   * False: what is hosted cannot be computed at the moment, and the manifest names no blocks, so that clients plan without this peer. Its provider
   * records stay, and requests still go to `compute`, which refuses them.
   */
  setAvailable: (available: boolean) => void
  /** Tells other volunteers, with the next manifest, what this peer is about to host. */
  setWanted: (wanted: WantedBlocks) => void
  /** Finishes the requests in flight, refuses new ones, withdraws the announcement. The host goes on. */
  stop: () => Promise<void>
}

/**
 * Serves experts to the swarm: returns once the expert protocol answers and the provider records are on the DHT. One model a host.
 * Throws SwarmError 'bad-argument' when a block lies outside of the model.
 */
export async function serveExperts (init: ServeExpertsInit): Promise<ServingPeer> {
  const { host: { libp2p, privateKey, limits: peerLimits, counters: guard, gate }, modelId, hiddenSize, experts, layers, blocks, compute, version } = init
  checkModelId(modelId)
  if (blocks.length > 0) checkOwnBlocks(blocks, experts, layers)
  const wires = init.wires ?? ['fp32', 'fp16', 'int8']
  const onEvent = init.onEvent ?? (() => {})
  let hosted = blocks
  let available = true
  let wanted: WantedBlocks = { intended: [], fetching: [] }
  const service = new ExpertService({ libp2p, modelId, hiddenSize, experts, layers, blocks, wires, compute, limits: peerLimits, onEvent })
  gate.lastServedMs = peerId => service.lastServedMs(peerId)
  const ttlMs = (init.manifestIntervalMs ?? limits.MANIFEST_INTERVAL_MS) * limits.MANIFEST_MISSES
  const manifest = new ManifestServer({
    libp2p,
    privateKey,
    perSecondPerPeer: peerLimits.manifestsPerSecondPerPeer,
    onRefused: () => { guard.manifestsRefused++ },
    manifest: { modelId, wires, version, ttlMs },
    current: () => ({ blocks: available ? hosted : [], ...wanted, load: compute.load, capacity: compute.capacity })
  })
  const keysOf = (served: HostedBlock[]): CID[] => [modelKey(modelId), ...new HostedExperts(served, experts).layers.map(layer => layerKey(modelId, layer))]
  const announcer = new Announcer({ dht: libp2p.services.dht, keys: keysOf(blocks), onEvent })
  await service.start()
  await manifest.start()
  await announcer.start()
  return {
    get counters () { return service.counters },
    get load () { return service.load },
    setBlocks: async next => {
      checkOwnBlocks(next, experts, layers)
      hosted = next
      service.setBlocks(next)
      await announcer.setKeys(keysOf(next))
    },
    setAvailable: next => { available = next },
    setWanted: next => { wanted = next },
    stop: async () => {
      // Out of sight first, so that clients plan without this peer while it finishes what it has.
      await manifest.stop()
      await Promise.all([announcer.stop(), service.stop()])
    }
  }
}

function checkOwnBlocks (blocks: HostedBlock[], experts: number, layers: number): void {
  if (blocks.length === 0) throw new SwarmError('bad-argument', 'A peer must host at least one block.', { argument: 'blocks' })
  try {
    checkBlocks(blocks, experts, layers)
  } catch (error) {
    throw new SwarmError('bad-argument', `The blocks to host lie outside of the model (${layers} layers of ${experts} experts).`, { argument: 'blocks' }, { cause: asSwarmError(error) })
  }
}
