import { type BlockEntry, Bundle, selectBlocks } from '../model-tools/index.js'
import { createSwarmHost, type OnSwarmEvent, serveExperts } from '../swarm/index.js'
import { ExpertHost } from './host/expert-host.js'
import { VERSION } from './version.js'

export interface SwarmPeerInit {
  /** Bundle directory. */
  model: string
  /** Layers to host, such as '0-5,7'. @default all */
  layers?: string
  /** Experts to host in each of them, such as '0-15'. @default all */
  experts?: string
  /** Multiaddrs to listen on. @default a free port of the loopback interface */
  listen?: string[]
  /** Multiaddrs of hosts in the swarm. None starts a swarm. */
  bootstrap?: string[]
  /** File of this peer's identity; created when it does not exist. @default a fresh identity */
  keyFile?: string
  /** Compute workers. @default all cores */
  threads?: number
  onEvent?: OnSwarmEvent
  onProgress?: (verified: number, total: number) => void
  signal?: AbortSignal
}

/** Donates compute: hosts blocks of experts and serves them to the swarm until it is stopped. */
export class SwarmPeer {
  private constructor (
    readonly bundle: Bundle,
    readonly blocks: BlockEntry[],
    readonly peerId: string,
    readonly addresses: string[],
    /** Finishes the requests in flight, withdraws, and ends every thread and connection. */
    readonly stop: () => Promise<void>
  ) {}

  /**
   * Returns once the experts are loaded and announced.
   * @throws ModelError for a bad bundle or range; SwarmError 'port-in-use', 'unreachable', ...
   */
  static async start (init: SwarmPeerInit): Promise<SwarmPeer> {
    const bundle = await Bundle.open(init.model)
    const blocks = selectBlocks(bundle, init.layers, init.experts)
    const host = await createSwarmHost({
      dht: 'server', keyFile: init.keyFile, listen: init.listen, bootstrap: init.bootstrap, signal: init.signal, onEvent: init.onEvent
    })
    let compute: ExpertHost | undefined
    try {
      compute = await ExpertHost.load({ bundle, blocks, threads: init.threads, onProgress: init.onProgress, signal: init.signal })
      const serving = await serveExperts({
        host,
        modelId: bundle.id,
        hiddenSize: bundle.config.hiddenSize,
        experts: bundle.config.experts,
        layers: bundle.config.layerTypes.length,
        blocks,
        compute,
        version: `moeswarm/${VERSION}`,
        onEvent: init.onEvent
      })
      const experts = compute
      return new SwarmPeer(bundle, blocks, host.peerId, host.addresses, async () => {
        await serving.stop()
        await host.stop()
        await experts.stop()
      })
    } catch (error) {
      await host.stop()
      await compute?.stop()
      throw error
    }
  }
}
