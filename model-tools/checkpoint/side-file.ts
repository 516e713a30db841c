import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { ModelError } from '../errors.js'
import { MAX_SIDE_FILE_BYTES } from './source.js'

/** A small file of a checkpoint directory; undefined where there is none. Rejects with ModelError 'malformed' when it is too large to be one. */
export async function readSideFile (dir: string, name: string): Promise<Uint8Array | undefined> {
  const path = join(dir, name)
  const handle = await open(path).catch(() => undefined)
  if (handle == null) return undefined
  try {
    const stats = await handle.stat()
    if (!stats.isFile()) return undefined
    if (stats.size > MAX_SIDE_FILE_BYTES) throw new ModelError('malformed', `${path} has ${stats.size} bytes, too many for such a file; get it again.`, { path })
    return await handle.readFile()
  } finally {
    await handle.close()
  }
}
