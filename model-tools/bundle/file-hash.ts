import { createHash, type Hash } from 'node:crypto'

/** Bytes of a chunk. Peers give each other files in chunks, each of which is verified before it is written. */
export const FILE_CHUNK_BYTES = 1024 * 1024

/** What a manifest says of a file. */
export interface FileDigest {
  /** Of the whole file, lowercase hex. */
  sha256: string
  bytes: number
  /** [ceil(bytes / FILE_CHUNK_BYTES)] sha256 of each piece, lowercase hex; the last one may be shorter. */
  chunks: string[]
}

/** Takes a file's digest as its bytes go by. */
export class FileHash {
  readonly #whole = createHash('sha256')
  readonly #chunks: string[] = []
  #chunk: Hash | undefined
  #bytes = 0

  get bytes (): number { return this.#bytes }

  update (bytes: Uint8Array): void {
    this.#whole.update(bytes)
    for (let at = 0; at < bytes.length;) {
      const inChunk = this.#bytes % FILE_CHUNK_BYTES
      const end = Math.min(bytes.length, at + FILE_CHUNK_BYTES - inChunk)
      this.#chunk ??= createHash('sha256')
      this.#chunk.update(bytes.subarray(at, end))
      this.#bytes += end - at
      if (this.#bytes % FILE_CHUNK_BYTES === 0) this.#endChunk()
      at = end
    }
  }

  /** Ends the file. */
  digest (): FileDigest {
    this.#endChunk()
    return { sha256: this.#whole.digest('hex'), bytes: this.#bytes, chunks: this.#chunks }
  }

  #endChunk (): void {
    if (this.#chunk === undefined) return
    this.#chunks.push(this.#chunk.digest('hex'))
    this.#chunk = undefined
  }
}

/** Digest of bytes that are in memory. */
export function digestBytes (bytes: Uint8Array): FileDigest {
  const hash = new FileHash()
  hash.update(bytes)
  return hash.digest()
}
