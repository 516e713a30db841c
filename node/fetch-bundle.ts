import { type Bundle, selectBlocks } from '../model-tools/index.js'
import { connectBlocks, createSwarmHost, type FetchProgress, type OnSwarmEvent } from '../swarm/index.js'
import { contentFiles, isModelId, modelDirectory, openBundleStore, openOrFetchManifest } from './bundle-store.js'
import { type KnownModel, servedModel } from './models.js'

/** What of a bundle is fetched: what a client needs, the experts, or both. */
export type BundlePart = 'client' | 'experts' | 'all'

export interface FetchBundleInit {
  /** Id of the model, or what it is called among those that the bootstrap hosts serve, see KnownModel. */
  model: string
  /** Directory of the bundle; what is there of this model is kept. @default `modelDirectory` of its id */
  out?: string
  part: BundlePart
  /** Of the experts, those of these layers, such as '0-5,7'. @default all */
  layers?: string
  /** Of the experts, these of each layer, such as '0-15'. @default all */
  experts?: string
  /** Multiaddrs of hosts in the swarm. */
  bootstrap: string[]
  /** Pre-shared key of a private swarm, see `readSwarmKey`. @default an open swarm */
  swarmKey?: string
  /** Called once it is known which model it is, and where it goes. */
  onModel?: (model: KnownModel & { dir: string }) => void
  onProgress?: (progress: FetchProgress) => void
  onEvent?: OnSwarmEvent
  signal?: AbortSignal
}

/**
 * Fetches a bundle or a part of it from the peers that have it, every chunk verified against the model id. Broken off, it goes on with what is there.
 * @throws SwarmError 'unreachable', 'bad-argument' for a model that there is not, 'blocks-unavailable', 'disk-full'; ModelError for ranges outside of the model
 */
export async function fetchBundle (init: FetchBundleInit): Promise<Bundle> {
  const { model, signal, onEvent } = init
  const host = await createSwarmHost({ dht: 'client', bootstrap: init.bootstrap, swarmKey: init.swarmKey, signal, onEvent })
  try {
    const known = isModelId(model) ? { id: model } : await servedModel(host, model, { signal })
    const dir = init.out ?? modelDirectory(known.id)
    init.onModel?.({ ...known, dir })
    const blocks = connectBlocks({ host, modelId: known.id, onEvent })
    try {
      const bundle = await openOrFetchManifest(dir, known.id, blocks, signal)
      const files = [
        ...init.part === 'experts' ? [] : bundle.clientFiles(),
        ...init.part === 'client' ? [] : selectBlocks(bundle, init.layers, init.experts).map(block => block.file)
      ]
      await blocks.fetchFiles(contentFiles(bundle, files), await openBundleStore(bundle), { signal, onProgress: init.onProgress })
      return bundle
    } finally {
      await blocks.stop()
    }
  } finally {
    await host.stop()
  }
}
