import { randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { MAX_REMEMBERED_LIARS } from '../constants.js'
import { SwarmError } from '../errors.js'
import type { Proof } from './proof.js'

const FORMAT = 1

/**
 * The peers that this user's clients caught lying, with what each was caught with, in a file of mode 0600. At most MAX_REMEMBERED_LIARS: the one caught first
 * is forgotten first. Clients that write at the same time may lose each other's newest entry, never the file.
 */
export class LiarRecord {
  #writing: Promise<unknown> = Promise.resolve()

  constructor (readonly file: string) {}

  /** The one caught first is first; none where there is no file. Throws SwarmError 'disk-failed', also for a file that is none of ours. */
  async read (): Promise<Proof[]> {
    let text: string
    try {
      text = await readFile(this.file, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw this.#failed(error)
    }
    try {
      const { format, liars } = JSON.parse(text) as { format: unknown, liars: unknown }
      if (format === FORMAT && Array.isArray(liars) && liars.every(isProof)) return liars
      throw new TypeError('another form')
    } catch (error) {
      throw new SwarmError('disk-failed', `${this.file} is no record of peers that lied, or one of another version of moeswarm: remove it, or name another state directory.`, { path: this.file }, { cause: error })
    }
  }

  /** Adds a proof; the newest of a peer counts. */
  async add (proof: Proof): Promise<void> {
    await this.#change(proofs => [...proofs.filter(({ peerId }) => peerId !== proof.peerId), proof].slice(-MAX_REMEMBERED_LIARS))
  }

  /** Forgets a peer, or all: it may be asked again. Returns whether anybody was forgotten. */
  async forget (peerId?: string): Promise<boolean> {
    let forgotten = false
    await this.#change(proofs => {
      const kept = peerId === undefined ? [] : proofs.filter(proof => proof.peerId !== peerId)
      forgotten = kept.length < proofs.length
      return kept
    })
    return forgotten
  }

  /** One after the other. */
  async #change (change: (proofs: Proof[]) => Proof[]): Promise<void> {
    const changed = this.#writing.then(async () => { await this.#write(change(await this.read())) })
    this.#writing = changed.catch(() => undefined)
    await changed
  }

  async #write (liars: Proof[]): Promise<void> {
    const fresh = `${this.file}.${randomUUID()}`
    try {
      await mkdir(dirname(this.file), { recursive: true, mode: 0o700 })
      const handle = await open(fresh, 'wx', 0o600)
      try {
        await handle.writeFile(JSON.stringify({ format: FORMAT, liars }, undefined, 1))
        await handle.sync()
      } finally {
        await handle.close()
      }
      await rename(fresh, this.file)
    } catch (error) {
      await rm(fresh, { force: true }).catch(() => undefined)
      throw this.#failed(error)
    }
  }

  #failed (error: unknown): SwarmError<'disk-failed'> {
    return new SwarmError('disk-failed', `${this.file}, where peers that lied are remembered, cannot be read or written (${(error as NodeJS.ErrnoException).code ?? 'unknown'}): check the disk and the permissions.`, { path: this.file }, { cause: error })
  }
}

function isProof (value: unknown): value is Proof {
  const { peerId, at, layer } = value as Partial<Proof>
  return typeof value === 'object' && value !== null && typeof peerId === 'string' && typeof at === 'string' && Number.isInteger(layer)
}
