import { copyFile, mkdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { getRepoFolderName } from '@huggingface/hub'

/** Tags of servers that can name a file. Others, which no known server sends, are not cached. */
const FILE_TAG = /^[A-Za-z0-9_-]{1,128}$/

/**
 * A repository in the cache of the ecosystem's tools: `blobs` hold content by its tag, `snapshots/<commit>` link to them by file name, `refs` say
 * which commit a branch was. What one tool has put there, the others find.
 */
export class HubCache {
  readonly #dir: string

  constructor (cacheDir: string, repo: string) {
    this.#dir = join(cacheDir, getRepoFolderName({ type: 'model', name: repo }))
  }

  /** Path of a file; undefined where it is not there. */
  async find (commit: string, name: string): Promise<string | undefined> {
    const path = this.#snapshot(commit, name)
    return (await stat(path).catch(() => undefined))?.isFile() === true ? path : undefined
  }

  /** Notes which commit a branch is. Rejects with the file system's error. */
  async storeRef (revision: string, commit: string): Promise<void> {
    const path = join(this.#dir, 'refs', revision)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, commit)
  }

  /** Rejects with the file system's error. `tag` is the ETag as the server sends it. */
  async store (commit: string, name: string, tag: string, bytes: Uint8Array): Promise<void> {
    const plainTag = tag.replace(/^W\//, '').replaceAll('"', '')
    if (!FILE_TAG.test(plainTag)) return
    const blob = join(this.#dir, 'blobs', plainTag)
    const path = this.#snapshot(commit, name)
    await mkdir(dirname(blob), { recursive: true })
    await mkdir(dirname(path), { recursive: true })
    const incomplete = `${blob}.${process.pid}.incomplete`
    await writeFile(incomplete, bytes)
    await rename(incomplete, blob)
    await rm(path, { force: true })
    // Windows lets only some users make links.
    await symlink(relative(dirname(path), blob), path).catch(async () => copyFile(blob, path))
  }

  #snapshot (commit: string, name: string): string {
    return join(this.#dir, 'snapshots', commit, name)
  }
}
