import { availableParallelism } from 'node:os'
import { type BlockEntry, type Bundle, ModelError, selectBlocks } from '../model-tools/index.js'
import {
  type AccessLists, type BlockCounters, connectBlocks, createSwarmHost, type FileStore, type GuardCounters, type InspectedPeer, type InspectOptions, type OnSwarmEvent, type PeerLimits, routingTableSize,
  serveBlocks, serveExperts, type ServiceCounters, type ServiceLoad, type SwarmHost, SwarmInspector
} from '../swarm/index.js'
import { isModelId, modelDirectory, openBundleStore, openOrFetchManifest } from './bundle-store.js'
import { Closers } from './closers.js'
import { Donation, type DonationEvent } from './donation.js'
import { ExpertHost, type LoadProgress, residentMemory, type WeightMapping, type WorkerEvent } from './host/expert-host.js'
import { mappingPays, returnFreePages } from './host/allocator.js'
import { type ComputeObservers, ObservedCompute } from './host/observed-compute.js'
import { LateCompute } from './host/late-compute.js'
import { isNotFound, isPath, openModel, servedModel } from './models.js'
import { VERSION } from './version.js'

export interface SwarmPeerInit extends AccessLists, ComputeObservers {
  /** Bundle directory, or what a bundle in `modelsDirectory()` is called; with `donate` also the id of a model in the swarm, or what it is called there, see KnownModel. */
  model: string
  /** Layers to host, such as '0-5,7'. @default all that the bundle holds */
  layers?: string
  /** Experts to host in each of them, such as '0-15'. @default all that the bundle holds */
  experts?: string
  /** Host what the swarm covers least instead, within this memory. */
  donate?: DonateInit
  /** Multiaddrs to listen on. @default a free port of the loopback interface */
  listen?: string[]
  /** Multiaddrs to tell others instead of those listened on, of a forwarded port or a proxy. @default those listened on */
  announce?: string[]
  /** Multiaddrs of hosts in the swarm. None starts a swarm. */
  bootstrap?: string[]
  /** File of this peer's identity; created when it does not exist. @default a fresh identity */
  keyFile?: string
  /** Pre-shared key of a private swarm, see `readSwarmKey`. @default an open swarm */
  swarmKey?: string
  /** What strangers may cost this peer, where it differs from DEFAULT_PEER_LIMITS. */
  limits?: Partial<PeerLimits>
  /** Compute workers. @default all cores */
  threads?: number
  /** See ExpertHostInit. @default where that takes less memory (mappingPays) */
  mapWeights?: boolean
  onEvent?: OnSwarmEvent
  onDonation?: (event: DonationEvent) => void
  onProgress?: (progress: LoadProgress) => void
  /** Called when a compute worker ends by itself, and when it is back; meanwhile this peer announces no blocks. */
  onWorker?: (event: WorkerEvent) => void
  /** Called when a compute worker ends again and again: stop this peer, it cannot compute any more. */
  onFailure?: (error: Error) => void
  signal?: AbortSignal
}

export interface DonateInit {
  /** Resident bytes that this process may take. */
  bytes: number
  /** Measures them. @default the kernel's figure for this process */
  residentBytes?: () => number
  /** Where a model named by its id is kept. @default modelDirectory of bundle-store.ts */
  dir?: string
  /** Checkpoint, as `moeswarm convert` takes it, for blocks that no peer has. */
  source?: string
  /** See DonationInit. @default true */
  clientPart?: boolean
  /** See DonationInit. */
  reviewIntervalMs?: number
  holdMs?: number
}

/** What a peer has done and refused since it started, and what is taken of it now. */
export interface PeerStatus extends GuardCounters {
  requests: ServiceCounters
  load: ServiceLoad
  blocks: BlockCounters
}

/** What a peer does at the moment and has done since its start. */
export interface PeerState {
  status: PeerStatus
  hostedBlocks: number
  hostedExperts: number
  /** Batches waiting or running. */
  batches: number
  /** Compute workers. */
  workers: number
  connections: number
  routingTableSize: number
}

/**
 * Donates compute: hosts blocks of experts and serves them to the swarm until it is stopped. Gives the bundle's files that it has to other
 * volunteers too.
 */
export class SwarmPeer {
  private constructor (
    readonly bundle: Bundle,
    readonly peerId: string,
    readonly addresses: string[],
    private readonly current: () => BlockEntry[],
    private readonly mapped: () => WeightMapping,
    private readonly counted: () => PeerStatus,
    private readonly inspector: SwarmInspector,
    private readonly measure: () => Omit<PeerState, 'status' | 'hostedBlocks' | 'hostedExperts'>,
    private readonly closers: Closers
  ) {}

  /**
   * Returns once the experts are loaded and announced.
   * @throws ModelError for a bad bundle or range; SwarmError 'port-in-use', 'unreachable', 'blocks-unavailable', ...
   */
  static async start (init: SwarmPeerInit): Promise<SwarmPeer> {
    const { signal, onEvent } = init
    const closers = new Closers()
    try {
      const local = await bundleHere(init)
      // A bad range is the user's to mend before anything is started.
      const chosen = local === undefined || init.donate !== undefined ? [] : await blocksToHost(local, init)
      const host = await createSwarmHost({ dht: 'server', keyFile: init.keyFile, listen: init.listen, announce: init.announce, bootstrap: init.bootstrap, swarmKey: init.swarmKey, allow: init.allow, deny: init.deny, limits: init.limits, signal, onEvent })
      closers.add(host.stop)
      const modelId = local?.id ?? (isModelId(init.model) ? init.model : (await servedModel(host, init.model, { signal })).id)
      const blocks = connectBlocks({ host, modelId, onEvent })
      closers.add(blocks.stop)
      const bundle = local ?? await openOrFetchManifest(init.donate?.dir ?? modelDirectory(modelId), modelId, blocks, signal)
      const store = await openBundleStore(bundle)
      const donation = init.donate === undefined ? undefined : donationOf(init, init.donate, bundle, host, store, blocks)
      const compute = new LateCompute(init.threads ?? availableParallelism())
      closers.add(async () => { await compute.host?.stop() })
      const serving = await serveExperts({
        host,
        modelId: bundle.id,
        hiddenSize: bundle.config.hiddenSize,
        experts: bundle.config.experts,
        layers: bundle.config.layerTypes.length,
        blocks: [],
        compute: init.onLayer === undefined && init.onServed === undefined ? compute : new ObservedCompute(compute, init),
        version: `moeswarm/${VERSION}`,
        onEvent
      })
      closers.add(serving.stop)
      serving.setWanted({ intended: [], fetching: chosen })
      const hosted = donation === undefined ? chosen : await donation.begin(serving, signal)
      const experts = compute.host = await ExpertHost.load({
        bundle,
        blocks: hosted,
        threads: init.threads,
        mapWeights: init.mapWeights ?? mappingPays(bundle),
        onLoad: init.onProgress,
        onWorker: event => {
          serving.setAvailable(compute.host?.available !== false)
          init.onWorker?.(event)
        },
        onFailure: init.onFailure,
        signal
      })
      const keepFreePages = returnFreePages()
      closers.add(async () => { keepFreePages() })
      await serving.setBlocks(hosted)
      serving.setWanted({ intended: [], fetching: [] })
      const seeding = await serveBlocks({ host, source: store, onEvent })
      closers.add(seeding.stop)
      if (donation !== undefined) {
        donation.follow({ compute: experts, serving })
        closers.add(async () => { await donation.stop() })
      }
      const counted = (): PeerStatus => structuredClone({ ...host.counters, requests: serving.counters, load: serving.load, blocks: seeding.counters })
      return new SwarmPeer(bundle, host.peerId, host.addresses, () => donation?.hosted ?? hosted, () => experts.mapping, counted, new SwarmInspector(host), () => ({
        batches: compute.load, workers: compute.capacity, connections: host.libp2p.getConnections().length, routingTableSize: routingTableSize(host.libp2p.services.dht)
      }), closers)
    } catch (error) {
      await closers.close().catch(() => { /* what failed first is what the caller must hear of */ })
      throw error
    }
  }

  /** What is hosted now. */
  get blocks (): BlockEntry[] { return this.current() }

  /** How many of its experts are pages of files. */
  get mapping (): WeightMapping { return this.mapped() }

  /** A copy. */
  status (): PeerStatus { return this.counted() }

  /** What it does at the moment. */
  state (): PeerState {
    const { blocks } = this
    return { ...this.measure(), status: this.status(), hostedBlocks: blocks.length, hostedExperts: blocks.reduce((sum, { experts }) => sum + experts, 0) }
  }

  /** Everybody else whom the DHT names for the model, asked for manifest and ping. */
  async others (options?: InspectOptions): Promise<InspectedPeer[]> { return await this.inspector.peers(this.bundle.id, options) }

  /** Finishes the requests in flight, withdraws, and ends every thread and connection. */
  async stop (): Promise<void> { await this.closers.close() }
}

/** Undefined where the swarm is to give the model. @throws ModelError */
async function bundleHere ({ model, donate, bootstrap = [] }: SwarmPeerInit): Promise<Bundle | undefined> {
  // An id with a directory of its own names what is to be there.
  if (donate?.dir !== undefined && !isPath(model)) return undefined
  try {
    return await openModel(model)
  } catch (error) {
    if (!isNotFound(error) || isPath(model)) throw error
    if (donate !== undefined && bootstrap.length > 0) return undefined
    if (isModelId(model)) throw new ModelError('not-found', `${model.slice(0, 12)}... is the id of a model: say how much memory to donate to it with --donate, or fetch its blocks with moeswarm fetch first.`)
    throw error
  }
}

/** The blocks that were asked for, or else all that the bundle holds. @throws ModelError 'not-found' when it holds none */
async function blocksToHost (bundle: Bundle, { layers, experts }: SwarmPeerInit): Promise<BlockEntry[]> {
  if (layers !== undefined || experts !== undefined) return selectBlocks(bundle, layers, experts)
  const here = await bundle.heldBlocks()
  if (here.length === 0) throw new ModelError('not-found', `The bundle in ${bundle.dir} holds no block of experts: fetch some with moeswarm fetch --part experts, or host with --donate.`, { path: bundle.dir })
  return here
}

function donationOf (init: SwarmPeerInit, { bytes, residentBytes, source, clientPart = true, reviewIntervalMs, holdMs }: DonateInit, bundle: Bundle, host: SwarmHost, store: FileStore, blocks: ReturnType<typeof connectBlocks>): Donation {
  return new Donation({
    bundle,
    host,
    store,
    blocks,
    limitBytes: bytes,
    residentBytes: residentBytes ?? (() => residentMemory().residentBytes),
    threads: init.threads ?? availableParallelism(),
    source,
    clientPart,
    reviewIntervalMs,
    holdMs,
    onEvent: init.onDonation
  })
}
