import { mkdir, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import * as limits from '../constants.js'
import { checkModelId } from '../dht/keys.js'
import { SwarmError } from '../errors.js'
import { checkFiles } from './content.js'
import type { BlockSink, BlockSource, ContentFile, FileStoreInit, SinkFile } from './interface.js'
import { isChunk, isErrno, PartialFile, readFully, withFile } from './partial-file.js'

/**
 * A bundle's directory as source and sink at once: what has been fetched is served as soon as it is complete. A file is written as `<path>.partial`
 * and takes its name when all its chunks are in and with the disk, so a file that has its name is whole. There is no journal of chunks: a
 * partial file is verified chunk by chunk when it is opened again, which no crash can make wrong and which takes a second or two per GB;
 * files are completed one by one, so few are partial.
 */
export class FileStore implements BlockSource, BlockSink {
  readonly modelId: string
  readonly manifest: Uint8Array
  readonly #dir: string
  /** Digest -> file, of those that are complete. */
  readonly #complete = new Map<string, ContentFile>()
  /** Of the files being fetched, not written yet. */
  #expectedBytes = 0

  /** Throws SwarmError 'bad-argument' or 'disk-failed'. */
  static async open (init: FileStoreInit): Promise<FileStore> {
    checkModelId(init.modelId)
    checkFiles(init.files)
    const store = new FileStore(init)
    for (const file of init.files) await store.#look(file)
    return store
  }

  private constructor ({ dir, modelId, manifest }: FileStoreInit) {
    this.#dir = dir
    this.modelId = modelId
    this.manifest = manifest
  }

  bytesOf (sha256: string): number | undefined {
    return this.#complete.get(sha256)?.bytes
  }

  /** Throws SwarmError 'disk-failed' (the file is not served again then) or 'bad-argument'. */
  async read (sha256: string, offset: number, length: number): Promise<Uint8Array> {
    const file = this.#complete.get(sha256)
    if (file == null) throw new SwarmError('bad-argument', `No file of digest ${sha256} is here.`, { argument: 'sha256' })
    try {
      return await this.#attempt(file, async () => await withFile(this.#pathOf(file), 'r', async handle => await readFully(handle, offset, length)))
    } catch (error) {
      this.#complete.delete(sha256)
      throw error
    }
  }

  async expect (bytes: number): Promise<void> {
    this.#expectedBytes = bytes
    const freeBytes = await this.#freeBytes()
    if (bytes > freeBytes) throw this.#full('', bytes - freeBytes)
  }

  async open (file: ContentFile): Promise<SinkFile> {
    checkFiles([file])
    if (await this.#look(file)) {
      return { have: new Uint8Array(file.chunks.length).fill(1), write: async () => {}, finish: async () => {}, close: async () => {} }
    }
    const partial = new PartialFile(file, this.#pathOf(file))
    return {
      have: await this.#attempt(file, async () => await partial.verified()),
      write: async (chunk, bytes) => {
        await this.#attempt(file, async () => { await partial.write(chunk, bytes) })
        this.#expectedBytes = Math.max(0, this.#expectedBytes - bytes.byteLength)
      },
      finish: async () => {
        await this.#attempt(file, async () => { await partial.finish() })
        this.#complete.set(file.sha256, file)
      },
      close: async () => { await partial.close() }
    }
  }

  /**
   * Whether a file is there and whole. Only `finish` and a bundle's writer give a file its name, so what must be told apart is the file of
   * another bundle: by its size, its first and its last chunk.
   */
  async #look (file: ContentFile): Promise<boolean> {
    const whole = await this.#attempt(file, async () => {
      try {
        return await withFile(this.#pathOf(file), 'r', async handle => {
          if ((await handle.stat()).size !== file.bytes) return false
          const last = file.chunks.length - 1
          return last < 0 || (await isChunk(handle, file, 0) && await isChunk(handle, file, last))
        })
      } catch (error) {
        if (isErrno(error, 'ENOENT')) return false
        throw error
      }
    })
    if (whole) this.#complete.set(file.sha256, file)
    return whole
  }

  #pathOf (file: ContentFile): string {
    return join(this.#dir, file.path)
  }

  async #attempt<T> (file: ContentFile, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (isErrno(error, 'ENOSPC') || isErrno(error, 'EDQUOT')) {
        throw this.#full(file.path, Math.max(limits.BLOCK_CHUNK_BYTES, this.#expectedBytes - await this.#freeBytes()), error)
      }
      const reason = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
      throw new SwarmError('disk-failed', `${this.#pathOf(file)} cannot be read or written${reason}: check the disk and the permissions.`, { path: file.path }, { cause: error })
    }
  }

  #full (path: string, missingBytes: number, cause?: unknown): SwarmError<'disk-full'> {
    return new SwarmError('disk-full',
      `The disk of ${this.#dir} lacks ${Math.ceil(missingBytes / limits.BLOCK_CHUNK_BYTES)} MiB: make room and go on, what is there already is kept.`,
      { path, missingBytes }, { cause })
  }

  /** Of the disk, for this user. The directory is made, so that there is something to ask about. */
  async #freeBytes (): Promise<number> {
    try {
      await mkdir(this.#dir, { recursive: true })
      const { bavail, bsize } = await statfs(this.#dir)
      return bavail * bsize
    } catch (error) {
      throw new SwarmError('disk-failed', `The directory ${this.#dir} cannot be made or looked at: check the path and its permissions.`, { path: '' }, { cause: error })
    }
  }
}
