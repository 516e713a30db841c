import { open, readdir, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { ModelError } from '../errors.js'
import { readSideFile } from './side-file.js'

/** A file of a checkpoint, readable by byte range. */
export interface RangeFile {
  /** Where it is, for error messages. */
  readonly path: string
  readonly bytes: number
  /** Differs when the content may: the time of the last change, or the commit. */
  readonly version: string
  /** Bytes [position, position + length). Rejects with ModelError 'malformed' when the file does not have them. */
  read: (position: number, length: number) => Promise<Uint8Array>
  close: () => Promise<void>
}

/** Where the files of a checkpoint lie: a directory, or a repository on a server. */
export interface CheckpointFolder {
  /** For error messages. */
  readonly location: string
  /** See CheckpointSource. */
  readonly pinned?: string
  /** Where a file is, or would be, for error messages. */
  path: (name: string) => string
  /** Undefined where there is none. The caller closes it. */
  open: (name: string) => Promise<RangeFile | undefined>
  /** Names of all files, those in folders of a repository as `folder/name`. */
  list: () => Promise<string[]>
  /** See CheckpointSource. */
  sideFile: (name: string) => Promise<Uint8Array | undefined>
  close: () => Promise<void>
}

export function localFolder (dir: string): CheckpointFolder {
  return {
    location: dir,
    path: name => join(dir, name),
    open: async name => LocalFile.open(join(dir, name)),
    list: async () => readdir(dir),
    sideFile: async name => readSideFile(dir, name),
    close: async () => { /* nothing is held but what callers opened */ }
  }
}

/** A file on disk. */
export class LocalFile implements RangeFile {
  private constructor (readonly path: string, readonly bytes: number, readonly version: string, private readonly handle: FileHandle) {}

  /** Undefined where there is none. `version` is the time of the last change unless given. */
  static async open (path: string, version?: string): Promise<LocalFile | undefined> {
    const handle = await open(path).catch(() => undefined)
    if (handle == null) return undefined
    try {
      const { size, mtimeMs } = await handle.stat()
      return new LocalFile(path, size, version ?? String(mtimeMs), handle)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  async read (position: number, length: number): Promise<Uint8Array> {
    // A fresh ArrayBuffer, not Buffer's shared pool: float views need its alignment, and it can move to another thread.
    const bytes = new Uint8Array(length)
    let done = 0
    while (done < length) {
      const { bytesRead } = await this.handle.read(bytes, done, length - done, position + done)
      if (bytesRead === 0) {
        throw new ModelError('malformed', `${this.path} ends at byte ${position + done} in the middle of its data; it is truncated, get it again.`, { path: this.path })
      }
      done += bytesRead
    }
    return bytes
  }

  async close (): Promise<void> {
    await this.handle.close()
  }
}
