import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'

/** Read at once while hashing: large enough that the disk and not the event loop is the limit. */
const READ_BYTES = 1024 * 1024

/** sha256 of a file as lowercase hex. `onBytes` gets the length of every piece. Rejects with the file system's error or the signal's reason. */
export async function sha256OfFile (path: string, { signal, onBytes }: { signal?: AbortSignal, onBytes?: (bytes: number) => void } = {}): Promise<string> {
  signal?.throwIfAborted()
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path, { highWaterMark: READ_BYTES }) as AsyncIterable<Buffer>) {
    signal?.throwIfAborted()
    hash.update(piece)
    onBytes?.(piece.length)
  }
  return hash.digest('hex')
}
