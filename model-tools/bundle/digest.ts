import { createReadStream } from 'node:fs'
import { type FileDigest, FileHash } from './file-hash.js'

/** Read at once while hashing: large enough that the disk and not the event loop is the limit. */
const READ_BYTES = 1024 * 1024

/** Streams a file through sha256. `onBytes` gets the length of every piece. Rejects with the file system's error or the signal's reason. */
export async function digestFile (path: string, { signal, onBytes }: { signal?: AbortSignal, onBytes?: (bytes: number) => void } = {}): Promise<FileDigest> {
  signal?.throwIfAborted()
  const hash = new FileHash()
  for await (const piece of createReadStream(path, { highWaterMark: READ_BYTES }) as AsyncIterable<Buffer>) {
    signal?.throwIfAborted()
    hash.update(piece)
    onBytes?.(piece.length)
  }
  return hash.digest()
}
