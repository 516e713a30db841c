import * as limits from '../constants.js'
import type { ContentFile } from './interface.js'

/** A chunk that a peer shall send. */
export interface ChunkTask {
  /** Index among the schedule's files. */
  file: number
  chunk: number
}

interface FileState {
  sha256: string
  /** [chunks], 1 where it is stored. */
  done: Uint8Array
  /** Chunks that are neither stored nor under way, descending: taken from the end. */
  open: number[]
  /** Chunk -> peers that it has been asked of. */
  underWay: Map<number, Set<string>>
  left: number
  begun: boolean
}

/**
 * Which chunk is asked of which peer: whoever has room takes the next. Files that are begun come first, so that files are completed, and
 * served to others, one by one; then those that the fewest peers have. When nothing is left to begin, what is under way with others is asked
 * once more, so that a slow peer does not hold up the end. Pure bookkeeping: knows neither streams nor disks.
 */
export class ChunkSchedule {
  readonly #files: FileState[]

  /** @param have - [files][chunks], 1 for what is there already */
  constructor (files: readonly ContentFile[], have: readonly Uint8Array[]) {
    this.#files = files.map(({ sha256, chunks }, file) => {
      const done = have[file].slice()
      const open = Array.from(chunks.keys()).filter(chunk => done[chunk] === 0).reverse()
      return { sha256, done, open, underWay: new Map(), left: open.length, begun: open.length < chunks.length }
    })
  }

  /** Digests of the files that lack chunks. */
  get wanted (): string[] {
    return this.#files.filter(({ left }) => left > 0).map(({ sha256 }) => sha256)
  }

  /** [files] how many chunks are not stored. */
  get missing (): number[] {
    return this.#files.map(({ left }) => left)
  }

  /**
   * What to ask of a peer next; it counts as under way with it from now on. Undefined when there is nothing for it.
   *
   * @param holds - digests of the files that the peer has
   * @param copies - how many peers have a file
   */
  next (peerId: string, holds: ReadonlySet<string>, copies: (sha256: string) => number): ChunkTask | undefined {
    let best: number | undefined
    for (const [at, file] of this.#files.entries()) {
      if (file.open.length === 0 || !holds.has(file.sha256)) continue
      if (best == null || this.#before(file, this.#files[best], copies)) best = at
    }
    if (best != null) {
      const file = this.#files[best]
      const chunk = file.open.pop()
      if (chunk != null) return this.#begin(best, chunk, peerId)
    }
    return this.#again(peerId, holds)
  }

  /** The chunk is stored. Returns the other peers that it is under way with; `complete` when it was the file's last. */
  stored ({ file: at, chunk }: ChunkTask, peerId: string): { others: string[], complete: boolean } {
    const file = this.#files[at]
    const others = [...file.underWay.get(chunk) ?? []].filter(other => other !== peerId)
    file.underWay.delete(chunk)
    if (file.done[chunk] === 0) {
      file.done[chunk] = 1
      file.left--
    }
    return { others, complete: file.left === 0 }
  }

  isStored ({ file, chunk }: ChunkTask): boolean {
    return this.#files[file].done[chunk] === 1
  }

  /** The peer will not send it after all. */
  failed ({ file: at, chunk }: ChunkTask, peerId: string): void {
    const file = this.#files[at]
    const peers = file.underWay.get(chunk)
    if (peers?.delete(peerId) !== true || peers.size > 0) return
    file.underWay.delete(chunk)
    file.open.push(chunk)
  }

  #before (a: FileState, b: FileState, copies: (sha256: string) => number): boolean {
    if (a.begun !== b.begun) return a.begun
    return copies(a.sha256) < copies(b.sha256)
  }

  #begin (at: number, chunk: number, peerId: string): ChunkTask {
    const file = this.#files[at]
    file.begun = true
    const peers = file.underWay.get(chunk) ?? new Set<string>()
    file.underWay.set(chunk, peers.add(peerId))
    return { file: at, chunk }
  }

  /** The chunk that has been under way longest with somebody else. */
  #again (peerId: string, holds: ReadonlySet<string>): ChunkTask | undefined {
    for (const [at, file] of this.#files.entries()) {
      if (file.underWay.size === 0 || !holds.has(file.sha256)) continue
      for (const [chunk, peers] of file.underWay) {
        if (!peers.has(peerId) && peers.size < limits.BLOCKS_MAX_COPIES) return this.#begin(at, chunk, peerId)
      }
    }
    return undefined
  }
}
