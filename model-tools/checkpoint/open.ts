import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ModelError } from '../errors.js'
import { localFolder } from './folder.js'
import { openGguf } from './gguf.js'
import { isHubSpec, openHubFolder } from './hub.js'
import { openSafetensors } from './safetensors.js'
import type { CheckpointSource } from './source.js'

const WHAT_TO_GIVE = 'give the directory that holds config.json and the .safetensors files, a .gguf file, or hf:owner/name'
const GGUF_FILE = /\.gguf$/i
/** The vision part of a model, which llama.cpp keeps in a file of its own. */
const PROJECTOR_FILE = /^mmproj/i

/**
 * Opens a checkpoint: a directory in Hugging Face layout, a GGUF file, a directory that holds one, or `hf:owner/name[@revision]`. The caller closes the
 * source.
 * Rejects with ModelError 'not-found' when there are no weights, 'malformed' when they are damaged, 'unsupported' when they are of a kind that
 * cannot be read, and as openHubFolder does.
 *
 * @param signal - breaks off requests to a server, also those of reads
 */
export async function openCheckpoint (path: string, signal?: AbortSignal): Promise<CheckpointSource> {
  if (isHubSpec(path)) return openSafetensors(await openHubFolder(path, { signal }))
  const found = await stat(path).catch(() => undefined)
  if (found == null) throw new ModelError('not-found', `There is no checkpoint at ${path}; ${WHAT_TO_GIVE}.`, { path })
  if (found.isDirectory()) {
    const file = await ggufIn(path)
    return file == null ? openSafetensors(localFolder(path)) : openGguf(file)
  }
  if (GGUF_FILE.test(path)) return openGguf(path)
  throw new ModelError('not-found', `${path} is a file; ${WHAT_TO_GIVE}.`, { path })
}

/** The GGUF file of a directory without safetensors weights. */
async function ggufIn (dir: string): Promise<string | undefined> {
  const names = await readdir(dir)
  const files = names.filter(name => GGUF_FILE.test(name) && !PROJECTOR_FILE.test(name)).sort()
  if (files.length === 0 || names.some(name => /\.safetensors(\.index\.json)?$/.test(name))) return undefined
  if (files.length > 1) throw new ModelError('not-found', `${dir} holds ${files.length} GGUF files (${files.slice(0, 5).join(', ')}); give one of them.`, { path: dir, files })
  return join(dir, files[0])
}
