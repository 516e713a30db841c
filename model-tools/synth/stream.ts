import type { DigestSink } from '../bundle/atomic-file.js'
import type { CheckpointSource, CheckpointTensor } from '../checkpoint/source.js'

/** A tensor that is written as it is read: never whole in memory. */
export interface StreamedTensor extends CheckpointTensor {
  /** Bytes [offset, offset + length). */
  read: (offset: number, length: number) => Promise<Uint8Array>
}

export interface WriteHooks {
  signal?: AbortSignal
  /** Gets the bytes of every step; their sum is the file's size. */
  onBytes?: (bytes: number) => void
}

/** Read and written at once: large enough for the disk, small beside any memory. */
const STEP_BYTES = 8 * 1024 * 1024

/** A tensor of a source, under its own or another name. */
export function streamed (source: CheckpointSource, tensor: CheckpointTensor, name = tensor.name): StreamedTensor {
  return { ...tensor, name, read: async (offset, length) => source.read(tensor.name, offset, length) }
}

/** Appends a tensor's bytes. The next step is made while the last one is written. Rejects with the signal's reason between two steps. */
export async function streamTensor ({ bytes, read }: StreamedTensor, sink: DigestSink, { signal, onBytes }: WriteHooks): Promise<void> {
  let written: Promise<void> = Promise.resolve()
  for (let offset = 0; offset < bytes; offset += STEP_BYTES) {
    signal?.throwIfAborted()
    const piece = await read(offset, Math.min(STEP_BYTES, bytes - offset))
    await written
    written = sink.write(piece)
    // It is awaited below or in the next round; until then a failure is nobody's unhandled rejection.
    written.catch(() => { /* reported by the await */ })
    onBytes?.(piece.length)
  }
  await written
}
