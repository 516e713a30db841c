import { mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ModelError } from '../errors.js'
import { type FileDigest, FileHash } from './file-hash.js'

/** Added to the name of a file that is not whole yet. */
export const PARTIAL = '.partial'

const ZEROS = new Uint8Array(64 * 1024)

/** A byte stream that is hashed as it goes by, and written where there is a file. */
export class DigestSink {
  readonly #hash = new FileHash()

  constructor (private readonly handle?: FileHandle) {}

  /** Bytes so far. */
  get position (): number {
    return this.#hash.bytes
  }

  async write (bytes: Uint8Array): Promise<void> {
    const position = this.position
    this.#hash.update(bytes)
    let done = 0
    while (this.handle != null && done < bytes.length) {
      const { bytesWritten } = await this.handle.write(bytes, done, bytes.length - done, position + done)
      done += bytesWritten
    }
  }

  /** Fills with zeros up to `offset`. */
  async padTo (offset: number): Promise<void> {
    while (this.position < offset) await this.write(ZEROS.subarray(0, Math.min(ZEROS.length, offset - this.position)))
  }

  /** Ends the stream. */
  digest (): FileDigest {
    return this.#hash.digest()
  }
}

/**
 * Writes a file so that it is there wholly or not at all: the bytes go to `<path>.partial`, reach the disk, and then take the name.
 * Creates the directory. When `fill` rejects or `check` throws, the partial file is removed.
 */
export async function writeAtomically (path: string, fill: (sink: DigestSink) => Promise<void>, check?: (digest: FileDigest) => void): Promise<FileDigest> {
  const partial = path + PARTIAL
  await mkdir(dirname(path), { recursive: true })
  const handle = await open(partial, 'w')
  try {
    const sink = new DigestSink(handle)
    await fill(sink)
    const digest = sink.digest()
    check?.(digest)
    await handle.sync()
    await handle.close()
    await rename(partial, path)
    await syncDirectory(dirname(path))
    return digest
  } catch (error) {
    await handle.close().catch(() => { /* it was closed before the rename failed */ })
    await rm(partial, { force: true })
    throw error
  }
}

/** Where a file's bytes go, and what they must be. */
export interface FileTarget {
  /** Absent where only the digest is wanted. */
  path?: string
  /** What the digest must be, in hex. */
  sha256?: string
}

/**
 * Writes a file as writeAtomically does, or takes its digest only. `file` is its name in the bundle, for errors.
 * Rejects with ModelError 'hash-mismatch', and leaves no file, when the bytes are others than they must be.
 */
export async function makeFile (file: string, { path, sha256 }: FileTarget, fill: (sink: DigestSink) => Promise<void>): Promise<FileDigest> {
  const check = (digest: FileDigest): void => {
    if (sha256 != null && digest.sha256 !== sha256) {
      throw new ModelError('hash-mismatch', `${file} has sha256 ${digest.sha256} where ${sha256} is promised.`, { file })
    }
  }
  if (path != null) return writeAtomically(path, fill, check)
  const sink = new DigestSink()
  await fill(sink)
  const digest = sink.digest()
  check(digest)
  return digest
}

/** A rename survives a power cut only once its directory is on disk. Windows has no such call and does not need it. */
export async function syncDirectory (path: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(path)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
