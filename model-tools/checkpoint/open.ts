import { stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { MANIFEST_FILE } from '../bundle/reader.js'
import { ModelError } from '../errors.js'
import { localFolder, type CheckpointFolder } from './folder.js'
import { openGguf } from './gguf.js'
import { ggufModels, isGgufName } from './gguf-files.js'
import { fileOfHubSpec, isHubSpec, openHubFolder } from './hub.js'
import { openSafetensors } from './safetensors.js'
import type { CheckpointSource } from './source.js'

const WHAT_TO_GIVE = 'give the directory that holds config.json and the .safetensors files, a .gguf file, or hf:owner/name'
/** Named in an error: a repository may hold a model in thirty formats. */
const MAX_NAMED_FILES = 40

/**
 * Opens a checkpoint: a directory in Hugging Face layout, a GGUF file, a directory that holds one, or `hf:owner/name[@revision]`, with `:file.gguf`
 * where the repository holds several. The caller closes the source.
 * Rejects with ModelError 'not-found' when there are no weights, or several GGUF models to choose from, which it names; 'malformed' when they are
 * damaged, 'unsupported' when they are of a kind that cannot be read, and as openHubFolder does.
 *
 * @param signal - breaks off requests to a server, also those of reads
 */
export async function openCheckpoint (path: string, signal?: AbortSignal): Promise<CheckpointSource> {
  if (isHubSpec(path)) {
    const folder = await openHubFolder(path, { signal })
    try {
      const file = fileOfHubSpec(path)
      return await (file == null ? openOnly(folder, path) : openGguf(folder, file))
    } catch (error) {
      await folder.close()
      throw error
    }
  }
  const found = await stat(path).catch(() => undefined)
  if (found == null) throw new ModelError('not-found', `There is no checkpoint at ${path}; ${WHAT_TO_GIVE}.`, { path })
  if (found.isDirectory()) return await openOnly(localFolder(path), path)
  if (isGgufName(path)) return await openGguf(localFolder(dirname(path)), basename(path))
  throw new ModelError('not-found', `${path} is a file; ${WHAT_TO_GIVE}.`, { path })
}

/** One file of a directory or repository, as openCheckpoint takes it. */
export function checkpointFile (checkpoint: string, file: string): string {
  return isHubSpec(checkpoint) ? `${checkpoint}:${file}` : join(checkpoint, file)
}

/** The model of a folder: in safetensors, or else in its GGUF file. */
async function openOnly (folder: CheckpointFolder, path: string): Promise<CheckpointSource> {
  try {
    return await openSafetensors(folder)
  } catch (error) {
    if (!(error instanceof ModelError && error.code === 'not-found')) throw error
    const names = await folder.list()
    if (names.includes(MANIFEST_FILE) && names.every(name => !/\.(safetensors|gguf)$/.test(name))) throw new ModelError('not-found', `${path} is a bundle already; convert takes the checkpoint that one is made from: ${WHAT_TO_GIVE}.`, { path })
    const files = ggufModels(names)
    if (files.length === 0 || names.some(name => /\.safetensors(\.index\.json)?$/.test(name))) throw error
    if (files.length === 1) return await openGguf(folder, files[0])
    const named = files.slice(0, MAX_NAMED_FILES).join(', ') + (files.length > MAX_NAMED_FILES ? ', ...' : '')
        throw new ModelError('not-found', `${path} holds ${files.length} GGUF models: ${named}; give one of them, as in ${checkpointFile(path, files[0])}.`, { path, files })
  }
}
