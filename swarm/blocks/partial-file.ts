import { createHash } from 'node:crypto'
import { mkdir, open, rename, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import * as limits from '../constants.js'
import { chunkBytes } from './content.js'
import type { ContentFile } from './interface.js'

/** Beside its place until it is complete. */
const PARTIAL = '.partial'

/** `<path>.partial` on its way to become `<path>`. Throws what node:fs throws. */
export class PartialFile {
  readonly #file: ContentFile
  readonly #path: string
  /** Opened at the first write: of many files to fetch, few are open. */
  #handle: Promise<FileHandle> | undefined

  constructor (file: ContentFile, path: string) {
    this.#file = file
    this.#path = path
  }

  /** [chunks], 1 where the right bytes are there. */
  async verified (): Promise<Uint8Array> {
    const have = new Uint8Array(this.#file.chunks.length)
    try {
      await withFile(this.#path + PARTIAL, 'r', async handle => {
        const { size } = await handle.stat()
        for (let chunk = 0; chunk < have.length; chunk++) {
          if (chunk * limits.BLOCK_CHUNK_BYTES + chunkBytes(this.#file, chunk) > size) break
          if (await isChunk(handle, this.#file, chunk)) have[chunk] = 1
        }
      })
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error
    }
    return have
  }

  async write (chunk: number, bytes: Uint8Array): Promise<void> {
    const handle = await this.#open()
    const offset = chunk * limits.BLOCK_CHUNK_BYTES
    for (let at = 0; at < bytes.byteLength;) {
      const { bytesWritten } = await handle.write(bytes, at, bytes.byteLength - at, offset + at)
      at += bytesWritten
    }
  }

  /** With the disk before it takes its name, and its name too before this returns. */
  async finish (): Promise<void> {
    const handle = await this.#open()
    // A partial file of other contents may have been longer.
    await handle.truncate(this.#file.bytes)
    await handle.sync()
    await this.close()
    await rename(this.#path + PARTIAL, this.#path)
    await withFile(dirname(this.#path), 'r', async folder => { await folder.sync() })
  }

  async close (): Promise<void> {
    const closing = this.#handle
    this.#handle = undefined
    await (await closing?.catch(() => undefined))?.close()
  }

  async #open (): Promise<FileHandle> {
    this.#handle ??= openOrCreate(this.#path + PARTIAL)
    return await this.#handle
  }
}

/** Whether a file has the right bytes at a chunk that lies within it. */
export async function isChunk (handle: FileHandle, file: ContentFile, chunk: number): Promise<boolean> {
  const bytes = await readFully(handle, chunk * limits.BLOCK_CHUNK_BYTES, chunkBytes(file, chunk))
  return createHash('sha256').update(bytes).digest('hex') === file.chunks[chunk]
}

export async function withFile<T> (path: string, flags: string, use: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await open(path, flags)
  try {
    return await use(handle)
  } finally {
    await handle.close()
  }
}

export async function readFully (handle: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length;) {
    const { bytesRead } = await handle.read(bytes, at, length - at, offset + at)
    if (bytesRead === 0) throw new RangeError('the file is shorter than it was')
    at += bytesRead
  }
  return bytes
}

export function isErrno (error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

async function openOrCreate (path: string): Promise<FileHandle> {
  await mkdir(dirname(path), { recursive: true })
  try {
    return await open(path, 'r+')
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    return await open(path, 'w+')
  }
}
