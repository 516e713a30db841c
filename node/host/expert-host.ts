import { availableParallelism } from 'node:os'
import { type BlockEntry, type Bundle, formatBytes, ModelError } from '../../model-tools/index.js'
import { type ExpertBatch, type ExpertCompute, type ExpertSum, isSwarmError, SwarmError } from '../../swarm/index.js'
import { returnLargePieces } from './allocator.js'
import { BatchQueue } from './batch-queue.js'
import type { HostedExpert } from './compute-messages.js'
import { SCRATCH_FILE } from './expert-session.js'
import { ComputeThread } from './compute-thread.js'
import { Jobs } from './jobs.js'
import { LastingThread } from './lasting-thread.js'
import { availableMemory, expertHostBytes, hostBaseBytes } from './memory.js'
import { OwnThread } from './own-thread.js'
import { type PackedBlock, type PackedExpert, packedExpert, prunePacked, removePacked } from './packed-blocks.js'
import { removeOfTheDead } from './scratch.js'
import { spreadOver, type Thread } from './spread.js'

export { expertHostBytes, hostBaseBytes, residentMemory, type ResidentMemory } from './memory.js'

/** Batches that may wait or run at once; more are answered `busy`. Bounds memory: a batch holds its hidden states. */
const MAX_LOAD = 64

/** What a client should wait before it asks a full peer again, in milliseconds. */
const BUSY_RETRY_MS = 50

export interface LoadProgress {
  /** Files are first compared with their digests, blocks packed where their weights are to be mapped and are not packed yet, then experts are loaded. */
  phase: 'verify' | 'pack' | 'load'
  done: number
  total: number
}

/** How many of the hosted experts are pages of files, and why others are not. */
export interface WeightMapping {
  experts: number
  notMapped?: string
}

export interface ChangeOptions {
  onProgress?: (progress: LoadProgress) => void
  signal?: AbortSignal
}

export type WorkerEvent =
  /** It is being started again, and loads what it held. Meanwhile batches are refused as 'busy'. */
  | { type: 'worker-ended', reason: string }
  | { type: 'worker-restarted', experts: number }

export interface ExpertHostInit {
  bundle: Bundle
  blocks: BlockEntry[]
  /** Compute workers. @default all cores */
  threads?: number
  /**
   * Whether the calling thread is one of them. Right for a client, which has nothing else to do while its experts compute, and one thread less to be
   * scheduled; wrong for a peer, whose own thread serves the network. @default false
   */
  inOwnThread?: boolean
  /** Bytes that hosted experts may take, by `expertHostBytes`. @default what the system has available */
  memoryLimit?: number
  /**
   * Whether weights are pages of files beside the bundle, in the form that kernels read, instead of memory of this process: shared with other
   * processes, and dropped by a system that needs the room. Where that cannot be, they are not: see `mapping`. @default false
   */
  mapWeights?: boolean
  /** Called after each block file whose digest was verified. */
  onProgress?: (verified: number, total: number) => void
  /** Called after each verified file and each loaded expert. */
  onLoad?: (progress: LoadProgress) => void
  /** Called when a compute worker ends by itself, and when it is back: `available` has changed then, perhaps. */
  onWorker?: (event: WorkerEvent) => void
  /** Called when a compute worker ends again and again: its experts cannot be computed any more. */
  onFailure?: (error: Error) => void
  signal?: AbortSignal
}

/**
 * Computes the experts of some blocks in threads, one session an expert. Expert e of every layer is on thread e modulo threads, and if its weights are mapped on another one too,
 * which computes it when it has nothing else to do. Equal batches give equal bits, whoever computes what (SharedJob).
 */
export class ExpertHost implements ExpertCompute {
  private readonly threads: Array<LastingThread | OwnThread>
  /** By file. */
  readonly #blocks = new Map<string, BlockEntry>()
  /** layer -> experts */
  readonly #hosted = new Map<number, Set<number>>()
  /** Additions and removals, one after the other. */
  #changes: Promise<unknown> = Promise.resolve()
  #load = 0
  /** Workers that are being started again. */
  #down = 0
  /** `layer/expert` of those whose weights are mapped. */
  readonly #mapped = new Set<string>()
  #notMapped: string | undefined
  readonly #queue: BatchQueue

  private constructor (
    private readonly bundle: Bundle,
    private readonly memoryLimit: number | undefined,
    private readonly mapWeights: boolean,
    { threads = availableParallelism(), inOwnThread = false, onWorker, onFailure }: ExpertHostInit
  ) {
    const workers = Array.from({ length: inOwnThread ? threads - 1 : threads }, () => new LastingThread({ dir: bundle.dir }, {
      onEnded: cause => {
        this.#down++
        onWorker?.({ type: 'worker-ended', reason: cause.message })
      },
      onRestarted: experts => {
        this.#down--
        onWorker?.({ type: 'worker-restarted', experts })
      },
      onFailure: error => { onFailure?.(error) }
    }))
    // The last one: the workers have their parts before this thread begins with its own.
    const own = inOwnThread ? new OwnThread(bundle) : undefined
    this.threads = own === undefined ? workers : [...workers, own]
    const jobs = new Jobs(this.threads, (layer, expert) => this.#mapped.has(nameOf({ layer, expert })) ? this.#holders(expert) : this.#holders(expert).slice(0, 1), own)
    this.#queue = new BatchQueue(async batch => await jobs.run(batch))
  }

  /**
   * Verifies the blocks' files, then loads them.
   * @throws ModelError 'no-memory' before anything is loaded; 'hash-mismatch', 'not-found'
   */
  static async load (init: ExpertHostInit): Promise<ExpertHost> {
    const { bundle, blocks, threads = availableParallelism(), memoryLimit, mapWeights = false, onProgress, onLoad, signal } = init
    requireMemory(bundle, [], blocks, { starting: threads, limit: memoryLimit })
    await removeOfTheDead(bundle.dir, SCRATCH_FILE)
    if (mapWeights) {
      returnLargePieces()
      await prunePacked(bundle)
    }
    const host = new ExpertHost(bundle, memoryLimit, mapWeights, init)
    try {
      await host.add(blocks, {
        signal,
        onProgress: progress => {
          onLoad?.(progress)
          if (progress.phase === 'verify') onProgress?.(progress.done, progress.total)
        }
      })
      return host
    } catch (error) {
      await host.stop()
      throw isSwarmError(error, 'busy') ? error.cause ?? error : error // a worker that ends at once: say why, nobody waits for it
    }
  }

  /** Batches waiting or running. */
  get load (): number { return this.#load }
  get capacity (): number { return this.threads.length }
  /** False while a worker is being started again: nearly every batch has an expert of it. */
  get available (): boolean { return this.#down === 0 }
  get blocks (): BlockEntry[] { return [...this.#blocks.values()] }
  get mapping (): WeightMapping { return { experts: this.#mapped.size, notMapped: this.#notMapped } }

  /**
   * Verifies and loads further blocks while others are computed; a request waits for at most one expert's loading. Blocks that
   * are hosted already are left alone. All are hosted when this resolves, and none when it rejects.
   * @throws ModelError 'no-memory' before anything is loaded; 'hash-mismatch', 'not-found'; the signal's reason
   */
  async add (blocks: BlockEntry[], options: ChangeOptions = {}): Promise<void> {
    await this.#change(async () => { await this.#add(blocks.filter(({ file }) => !this.#blocks.has(file)), options) })
  }

  /** Frees the memory of blocks, and the disk of their packed forms. Batches that were submitted before are still computed; later ones are 'not-hosted'. */
  async remove (blocks: BlockEntry[]): Promise<void> {
    await this.#change(async () => {
      const experts = blocks.filter(({ file }) => this.#blocks.delete(file)).flatMap(block => this.#experts(block))
      for (const { layer, expert } of experts) this.#hosted.get(layer)?.delete(expert)
      await this.#queue.settled()
      await this.#unload(experts)
      for (const expert of experts) this.#mapped.delete(nameOf(expert))
      if (this.mapWeights) await removePacked(this.bundle, blocks)
    })
  }

  async compute (batch: ExpertBatch, signal?: AbortSignal): Promise<ExpertSum> {
    signal?.throwIfAborted()
    if (this.#load >= MAX_LOAD) throw new SwarmError('busy', 'All compute workers are busy; ask another peer or later.', { retryAfterMs: BUSY_RETRY_MS })
    const hosted = this.#hosted.get(batch.layer)
    if (!batch.experts.every(expert => hosted?.has(expert))) throw new SwarmError('not-hosted', 'An expert of the batch is not hosted here.', {})
    this.#load++
    const computed = this.#queue.submit(batch, signal)
    void computed.catch(() => undefined).finally(() => { this.#load-- })
    return await computed
  }

  async stop (): Promise<void> {
    const reason = new SwarmError('aborted', 'The expert host was stopped.', {})
    await Promise.all(this.threads.map(async thread => { await thread.stop(reason) }))
  }

  /** The thread of an expert, and another one, which holds it too if it is mapped: pages of a file cost nothing twice. */
  #holders (expert: number): number[] {
    const threads = this.threads.length
    const first = expert % threads
    if (threads === 1 || this.bundle.config.experts <= threads) return [first]
    return [first, (first + 1 + Math.floor(expert / threads) % (threads - 1)) % threads]
  }

  async #add (blocks: BlockEntry[], { onProgress, signal }: ChangeOptions): Promise<void> {
    requireMemory(this.bundle, this.blocks, blocks, { limit: this.memoryLimit })
    const packed = await this.#verify(blocks, { onProgress, signal })
    const experts = blocks.flatMap(block => this.#experts(block).map((expert, i) => ({ expert, packed: packed.get(block) && packedExpert(packed.get(block)!, i) })))
    const loaded: HostedExpert[] = []
    const mapped: Array<{ expert: HostedExpert, packed: PackedExpert }> = []
    // Of the one expert of a dense layer every core computes a part.
    const threads = Math.max(1, Math.floor(this.threads.length / this.bundle.config.experts))
    try {
      await spreadOver(this.threads, experts.map(task => ({ worker: this.#holders(task.expert.expert)[0], ...task })), async (thread, { expert, packed }) => {
        signal?.throwIfAborted()
        const { notMapped } = await thread.request({ kind: 'load', expert, threads, packed, common: false })
        this.#notMapped ??= notMapped
        loaded.push(expert)
        if (packed !== undefined && notMapped === undefined) mapped.push({ expert, packed })
        onProgress?.({ phase: 'load', done: loaded.length, total: experts.length })
      })
      const common = mapped.flatMap(task => this.#holders(task.expert.expert).slice(1).map(worker => ({ worker, ...task })))
      await spreadOver(this.threads, common, async (thread, { expert, packed }) => {
        signal?.throwIfAborted()
        await thread.request({ kind: 'load', expert, threads, packed, common: true })
      })
    } catch (error) {
      await this.#unload(loaded).catch(() => undefined)
      throw error
    }
    for (const block of blocks) this.#blocks.set(block.file, block)
    for (const { expert } of mapped) this.#mapped.add(nameOf(expert))
    for (const { expert: { layer, expert } } of experts) {
      const ofLayer = this.#hosted.get(layer) ?? new Set()
      this.#hosted.set(layer, ofLayer.add(expert))
    }
  }

  /** Returns the packed forms of blocks, where weights are mapped and have one. */
  async #verify (blocks: BlockEntry[], { onProgress, signal }: ChangeOptions): Promise<Map<BlockEntry, PackedBlock>> {
    const found = new Map<BlockEntry, PackedBlock>()
    const request = (kind: 'verify' | 'pack', total: number) => {
      let done = 0
      return async (thread: Thread, { block }: { block: BlockEntry }): Promise<void> => {
        signal?.throwIfAborted()
        const { packed, notMapped } = await thread.request({ kind, block, map: this.mapWeights })
        if (packed !== undefined) found.set(block, packed)
        this.#notMapped ??= notMapped
        onProgress?.({ phase: kind, done: ++done, total })
      }
    }
    await spreadOver(this.threads, blocks.map((block, worker) => ({ worker, block })), request('verify', blocks.length))
    const missing = this.mapWeights ? blocks.filter(block => !found.has(block)) : []
    if (missing.length === 0) return found
    // A second a block: threads of their own, so that requests for what is hosted do not wait, which end with what they took.
    const packers = Array.from({ length: this.#blocks.size > 0 ? 1 : this.threads.length }, () => new ComputeThread({ dir: this.bundle.dir }, error => error))
    try {
      await spreadOver(packers, missing.map((block, worker) => ({ worker, block })), request('pack', missing.length))
    } finally {
      await Promise.all(packers.map(async packer => { await packer.stop(new SwarmError('aborted', 'The expert host was stopped.', {})) }))
    }
    return found
  }

  async #unload (experts: HostedExpert[]): Promise<void> {
    await Promise.all(experts.map(async ({ layer, expert }) => {
      await Promise.all(this.#holders(expert).map(async index => { await this.threads[index].request({ kind: 'unload', layer, expert }) }))
    }))
  }

  async #change (change: () => Promise<void>): Promise<void> {
    const changed = this.#changes.then(change)
    this.#changes = changed.catch(() => undefined)
    await changed
  }

  #experts (block: BlockEntry): HostedExpert[] {
    return this.bundle.experts(block).map(entry => ({ layer: block.layer, ...entry }))
  }
}

function nameOf ({ layer, expert }: { layer: number, expert: number }): string {
  return `${layer}/${expert}`
}

function requireMemory (bundle: Bundle, hosted: BlockEntry[], added: BlockEntry[], { starting, limit }: { starting?: number, limit?: number }): void {
  const neededBytes = expertHostBytes(bundle, added)
  const available = Math.min(availableMemory() - hostBaseBytes(starting ?? 0), (limit ?? Infinity) - expertHostBytes(bundle, hosted))
  const availableBytes = Math.max(0, available)
  if (neededBytes <= availableBytes) return
  throw new ModelError('no-memory',
    `${added.length} blocks of experts take ${formatBytes(neededBytes)} of memory, and ${formatBytes(availableBytes)} may be used; host fewer layers or experts.`,
    { neededBytes, availableBytes })
}
