import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { Bundle, MANIFEST_FILE, ModelError, writeAtomically } from '../model-tools/index.js'
import { type BlocksConnection, type ContentFile, FileStore } from '../swarm/index.js'

/** Whether this is the id of a model: 64 hex digits. */
export function isModelId (text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text)
}

/** $XDG_DATA_HOME/moeswarm/models. */
export function modelsDirectory (): string {
  return join(process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'moeswarm', 'models')
}

/** Where a model that was named by its id is kept. */
export function modelDirectory (modelId: string): string {
  return join(modelsDirectory(), modelId)
}

/** Files of a bundle as the block protocol knows them. */
export function contentFiles ({ manifest }: Bundle, files: string[]): ContentFile[] {
  return files.map(path => ({ path, ...manifest.files[path] }))
}

/** A bundle's directory as what peers are served from and what is fetched goes to. */
export async function openBundleStore (bundle: Bundle): Promise<FileStore> {
  return await FileStore.open({
    dir: bundle.dir,
    modelId: bundle.id,
    manifest: await readFile(join(bundle.dir, MANIFEST_FILE)),
    files: contentFiles(bundle, Object.keys(bundle.manifest.files))
  })
}

/**
 * Opens the bundle in `dir`, fetching its manifest from the swarm when there is none. It may lack files.
 * @throws ModelError 'hash-mismatch' when `dir` holds another model; SwarmError 'blocks-unavailable'
 */
export async function openOrFetchManifest (dir: string, modelId: string, blocks: BlocksConnection, signal?: AbortSignal): Promise<Bundle> {
  try {
    const bundle = await Bundle.open(dir)
    if (bundle.id === modelId) return bundle
    throw new ModelError('hash-mismatch', `${dir} holds model ${bundle.id.slice(0, 12)}, not ${modelId.slice(0, 12)}: name another directory.`, { path: dir })
  } catch (error) {
    if (!(error instanceof ModelError) || error.code !== 'not-found') throw error
  }
  const manifest = await blocks.fetchManifest({ signal })
  await writeAtomically(join(dir, MANIFEST_FILE), async sink => { await sink.write(manifest) })
  return await Bundle.open(dir)
}
