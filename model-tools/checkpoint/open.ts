import { stat } from 'node:fs/promises'
import { ModelError } from '../errors.js'
import { openSafetensors } from './safetensors.js'
import type { CheckpointSource } from './source.js'

/**
 * Opens the weights of a checkpoint directory in Hugging Face layout. The caller closes the source.
 * Rejects with ModelError 'not-found' when the directory or the weights in it are not there, 'malformed' when they are damaged.
 */
export async function openCheckpoint (dir: string): Promise<CheckpointSource> {
  const found = await stat(dir).catch(() => undefined)
  if (found == null) {
    throw new ModelError('not-found', `There is no checkpoint at ${dir}; give the directory that holds config.json and the .safetensors files.`, { path: dir })
  }
  if (!found.isDirectory()) {
    throw new ModelError('not-found', `${dir} is a file; give the checkpoint's directory, the one that holds config.json and the .safetensors files.`, { path: dir })
  }
  return openSafetensors(dir)
}
