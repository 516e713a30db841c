import type { Libp2p } from '@libp2p/interface'
import * as limits from '../constants.js'
import { asSwarmError, SwarmError } from '../errors.js'
import type { OnSwarmEvent } from '../events.js'
import type { SwarmServices } from '../host.js'
import { chunkBytes, missingBytes } from './content.js'
import type { BlockSink, ContentFile, FetchFilesOptions, SinkFile } from './interface.js'
import { Patience } from './patience.js'
import { BlockPeers, type BlockPeer } from './peers.js'
import { ChunkSchedule, type ChunkTask } from './schedule.js'

export interface TransferInit {
  libp2p: Libp2p<SwarmServices>
  modelId: string
  /** Checked, in the order in which equals are begun. */
  files: readonly ContentFile[]
  sink: BlockSink
  patienceMs: number
  refused: Set<string>
  signal: AbortSignal
  options: FetchFilesOptions
  onEvent: OnSwarmEvent
}

/** Files on their way from several peers into a sink. */
export class Transfer {
  readonly #init: TransferInit
  readonly #peers: BlockPeers
  readonly #patience: Patience
  /** Of each peer, the chunks that it has been asked for. */
  readonly #tasks = new Map<BlockPeer, Map<ChunkTask, AbortController>>()
  readonly #running = new Set<Promise<void>>()
  #sinkFiles: SinkFile[] = []
  #schedule: ChunkSchedule
  #unfinished = 0
  #doneBytes = 0
  #over = false
  #settle: (error?: unknown) => void = () => {}

  constructor (init: TransferInit) {
    this.#init = init
    this.#schedule = new ChunkSchedule([], [])
    const bytesOf = new Map(init.files.map(({ sha256, bytes }) => [sha256, bytes]))
    this.#peers = new BlockPeers({
      libp2p: init.libp2p,
      modelId: init.modelId,
      wanted: () => this.#schedule.wanted,
      fits: (sha256, bytes) => bytesOf.get(sha256) === bytes,
      refused: init.refused,
      onChange: () => { this.#pump() },
      onEvent: init.onEvent
    })
    this.#patience = new Patience(init.patienceMs, () => { this.#settle(this.#unavailable()) })
  }

  /** Throws as BlocksConnection.fetchFiles does. */
  async run (): Promise<void> {
    const { files, sink, signal } = this.#init
    try {
      for (const file of files) {
        if (signal.aborted) throw aborted()
        this.#sinkFiles.push(await sink.open(file))
      }
      await this.#finishWhole()
      if (this.#unfinished > 0) await this.#fetchAll()
    } finally {
      this.#over = true
      this.#patience.stop()
      await this.#peers.stop()
      await Promise.all(this.#running)
      await Promise.all(this.#sinkFiles.map(async file => { await file.close() }))
    }
  }

  /** A file whose last chunk was stored just before a break is complete without any peer. */
  async #finishWhole (): Promise<void> {
    const { files, sink } = this.#init
    const missing = files.map((file, at) => missingBytes(file, this.#sinkFiles[at].have))
    this.#schedule = new ChunkSchedule(files, this.#sinkFiles.map(({ have }) => have))
    this.#doneBytes = files.reduce((sum, { bytes }, at) => sum + bytes - missing[at], 0)
    this.#unfinished = files.length
    for (const [at, bytes] of missing.entries()) {
      if (bytes === 0) await this.#finish(at)
    }
    await sink.expect(missing.reduce((sum, bytes) => sum + bytes, 0))
    this.#report()
  }

  async #fetchAll (): Promise<void> {
    const { signal } = this.#init
    const onAbort = (): void => { this.#settle(aborted()) }
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      await new Promise<void>((resolve, reject) => {
        this.#settle = error => {
          this.#over = true
          if (error == null) resolve()
          else reject(error instanceof Error ? error : new Error('the transfer failed'))
        }
        if (signal.aborted) onAbort()
        this.#patience.underWay(0)
        this.#peers.start().catch(this.#settle)
      })
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** Gives every peer that has room its next chunks. */
  #pump (): void {
    if (this.#over) return
    const open = this.#peers.open
    const copies = (sha256: string): number => open.filter(({ holds }) => holds.has(sha256)).length
    for (const peer of open) {
      const tasks = this.#tasks.get(peer) ?? new Map<ChunkTask, AbortController>()
      this.#tasks.set(peer, tasks)
      const holds = new Set(peer.holds.keys())
      while (tasks.size < limits.BLOCKS_WINDOW_CHUNKS && peer.client.reads < limits.BLOCKS_MAX_READS) {
        const task = this.#schedule.next(peer.peerId, holds, copies)
        if (task == null) break
        const controller = new AbortController()
        tasks.set(task, controller)
        this.#track(this.#fetch(peer, task, controller.signal).finally(() => { tasks.delete(task) }))
      }
    }
    for (const [peer, tasks] of this.#tasks) {
      if (tasks.size === 0 && !open.includes(peer)) this.#tasks.delete(peer)
    }
    this.#patience.underWay(this.#running.size)
  }

  #track (work: Promise<void>): void {
    const running = work.catch((error: unknown) => { this.#settle(error) }).finally(() => {
      this.#running.delete(running)
      this.#pump()
    })
    this.#running.add(running)
  }

  /** Throws only what ends the whole transfer: what the sink throws. */
  async #fetch (peer: BlockPeer, task: ChunkTask, signal: AbortSignal): Promise<void> {
    const file = this.#init.files[task.file]
    const offset = task.chunk * limits.BLOCK_CHUNK_BYTES
    let contents
    try {
      contents = await peer.client.read(file.sha256, offset, chunkBytes(file, task.chunk), signal)
    } catch (error) {
      if (asSwarmError(error)?.code === 'not-hosted') peer.holds.delete(file.sha256)
      this.#schedule.failed(task, peer.peerId)
      return
    }
    if (contents.sha256 !== file.chunks[task.chunk]) {
      this.#schedule.failed(task, peer.peerId)
      this.#init.onEvent({ type: 'chunk-refused', peerId: peer.peerId, path: file.path, chunk: task.chunk })
      this.#peers.refuse(peer, file.chunks[task.chunk])
      return
    }
    if (this.#over || this.#schedule.isStored(task)) return
    await this.#sinkFiles[task.file].write(task.chunk, contents.bytes)
    await this.#stored(peer, task)
  }

  async #stored (peer: BlockPeer, task: ChunkTask): Promise<void> {
    // Two copies may have been written at the same time: they are the same bytes, and count once.
    if (this.#schedule.isStored(task)) return
    const { others, complete } = this.#schedule.stored(task, peer.peerId)
    for (const [other, tasks] of this.#tasks) {
      if (!others.includes(other.peerId)) continue
      for (const [copy, controller] of tasks) {
        if (copy.file === task.file && copy.chunk === task.chunk) controller.abort()
      }
    }
    this.#doneBytes += chunkBytes(this.#init.files[task.file], task.chunk)
    this.#patience.progress()
    this.#report()
    if (!complete) return
    await this.#finish(task.file)
    if (this.#unfinished === 0) this.#settle()
  }

  async #finish (file: number): Promise<void> {
    await this.#sinkFiles[file].finish()
    this.#unfinished--
    this.#init.options.onFile?.(this.#init.files[file])
  }

  #report (): void {
    const { files, options: { onProgress } } = this.#init
    let peers = 0
    for (const tasks of this.#tasks.values()) peers += tasks.size > 0 ? 1 : 0
    onProgress?.({ doneBytes: this.#doneBytes, totalBytes: files.reduce((sum, { bytes }) => sum + bytes, 0), peers })
  }

  /** Names the first few files: a person acts on what is missing, a program reads `data`. */
  #unavailable (): SwarmError<'blocks-unavailable'> {
    const left = this.#schedule.missing
    const missing = this.#init.files.flatMap(({ path }, at) => left[at] === 0 ? [] : [{ path, chunks: left[at] }])
    const named = missing.slice(0, NAMED_FILES).map(({ path, chunks }) => `${path} (${chunks} MiB)`).join(', ')
    const more = missing.length > NAMED_FILES ? ` and ${missing.length - NAMED_FILES} more files` : ''
    return new SwarmError('blocks-unavailable',
      `For ${this.#init.patienceMs / 1_000} s no live peer has had what is missing of ${named}${more}: start a peer that has it; what is there already is kept.`, { missing })
  }
}

/** Files that an error names one by one. */
const NAMED_FILES = 4

export function aborted (): SwarmError<'aborted'> {
  return new SwarmError('aborted', 'Fetching was cancelled; what is there already is kept.', {})
}
