import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { type BlockEntry, type Bundle, ModelError } from '../../model-tools/index.js'
import { type ExpertBatch, type ExpertCompute, type ExpertSum, SwarmError } from '../../swarm/index.js'
import { type ExpertGroups, groupByExpert } from './batch.js'
import type { ComputeJob, ComputeMessage, ComputeWorkerData, HostedExpert } from './compute-messages.js'

/** Batches that may wait or run at once; more are answered `busy`. Bounds memory: a batch holds its hidden states. */
const MAX_LOAD = 64

/** What a client should wait before it asks a full peer again, in milliseconds. */
const BUSY_RETRY_MS = 50

export interface ExpertHostInit {
  bundle: Bundle
  blocks: BlockEntry[]
  /** Compute workers. @default all cores */
  threads?: number
  /** Called after each block file whose digest was verified. */
  onProgress?: (verified: number, total: number) => void
  signal?: AbortSignal
}

interface Pending {
  resolve: (sum: ExpertSum) => void
  reject: (error: Error) => void
  submitted: number
  serviceMicros: number
  parts: Array<Float32Array | undefined>
  missing: number
}

/**
 * Computes the experts of some blocks in worker threads, one session an expert, each expert on one worker: expert e of
 * every layer on worker e modulo workers. The split depends on nothing but the number of workers, so equal batches give
 * equal bits.
 */
export class ExpertHost implements ExpertCompute {
  private readonly pending = new Map<number, Pending>()
  private nextId = 0
  private failure?: Error

  private constructor (private readonly workers: Worker[]) {
    workers.forEach((worker, index) => {
      worker.on('message', (message: ComputeMessage) => { this.onMessage(index, message) })
      worker.on('error', error => { this.fail(error) })
    })
  }

  /** Verifies the blocks' files, then loads them. @throws ModelError 'hash-mismatch', 'not-found' */
  static async load ({ bundle, blocks, threads = availableParallelism(), onProgress, signal }: ExpertHostInit): Promise<ExpertHost> {
    for (const [i, block] of blocks.entries()) {
      await bundle.verify([block.file], { signal })
      onProgress?.(i + 1, blocks.length)
    }
    const shares: HostedExpert[][] = Array.from({ length: threads }, () => [])
    for (const block of blocks) {
      for (const entry of bundle.experts(block)) shares[entry.expert % threads].push({ layer: block.layer, ...entry })
    }
    const workers = shares.map(experts => startWorker({ dir: bundle.dir, config: bundle.config, experts }))
    try {
      await Promise.all(workers.map(ready))
      signal?.throwIfAborted()
    } catch (error) {
      await Promise.all(workers.map(worker => worker.terminate()))
      throw error
    }
    return new ExpertHost(workers)
  }

  get load (): number { return this.pending.size }
  get capacity (): number { return this.workers.length }

  async compute (batch: ExpertBatch, signal?: AbortSignal): Promise<ExpertSum> {
    if (this.failure !== undefined) throw this.failure
    signal?.throwIfAborted()
    if (this.pending.size >= MAX_LOAD) throw new SwarmError('busy', 'All compute workers are busy; ask another peer or later.', { retryAfterMs: BUSY_RETRY_MS })
    const shares = groupByExpert(batch, this.workers.length)
    const id = this.nextId++
    return await new Promise((resolve, reject) => {
      const abort = (): void => { this.settle(id)?.reject(signal!.reason as Error) }
      signal?.addEventListener('abort', abort, { once: true })
      const detached = <T>(settle: (value: T) => void) => (value: T): void => {
        signal?.removeEventListener('abort', abort)
        settle(value)
      }
      const missing = shares.filter(share => share !== undefined).length
      this.pending.set(id, {
        resolve: detached(resolve), reject: detached(reject), submitted: performance.now(), serviceMicros: 0, parts: shares.map(() => undefined), missing
      })
      if (missing === 0) this.settle(id)!.resolve({ sum: new Float32Array(batch.hidden.length), queueMicros: 0, serviceMicros: 0 })
      shares.forEach((share, worker) => { if (share !== undefined) this.submit(worker, id, batch, share) })
    })
  }

  async stop (): Promise<void> {
    this.fail(new SwarmError('aborted', 'The expert host was stopped.', {}))
    await Promise.all(this.workers.map(worker => worker.terminate()))
  }

  private submit (worker: number, id: number, { layer, hidden }: ExpertBatch, share: ExpertGroups): void {
    const job: ComputeJob = { id, layer, hidden, ...share }
    this.workers[worker].postMessage(job)
  }

  private onMessage (worker: number, message: ComputeMessage): void {
    if (message.kind === 'ready') return
    const pending = this.pending.get(message.id)
    if (pending === undefined) return // cancelled
    if (message.kind === 'failed') {
      this.settle(message.id)
      pending.reject(new ModelError('malformed', `An expert could not be computed: ${message.message}`))
      return
    }
    pending.parts[worker] = message.sum
    pending.serviceMicros = Math.max(pending.serviceMicros, message.serviceMicros)
    if (--pending.missing > 0) return
    this.settle(message.id)
    const elapsed = Math.round((performance.now() - pending.submitted) * 1000)
    pending.resolve({
      sum: addInOrder(pending.parts),
      queueMicros: Math.max(0, elapsed - pending.serviceMicros),
      serviceMicros: pending.serviceMicros
    })
  }

  private settle (id: number): Pending | undefined {
    const pending = this.pending.get(id)
    this.pending.delete(id)
    return pending
  }

  private fail (error: Error): void {
    this.failure ??= error
    for (const id of [...this.pending.keys()]) this.settle(id)!.reject(this.failure)
  }
}

function startWorker (workerData: ComputeWorkerData): Worker {
  return new Worker(new URL('./compute-worker.js', import.meta.url), { workerData })
}

async function ready (worker: Worker): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    worker.once('message', () => { resolve() })
    worker.once('error', reject)
  })
}

/** Worker order, not order of arrival. The first part is reused as the sum. */
function addInOrder (parts: Array<Float32Array | undefined>): Float32Array {
  const present = parts.filter(part => part !== undefined)
  const sum = present[0]
  for (const part of present.slice(1)) {
    for (let i = 0; i < sum.length; i++) sum[i] += part[i]
  }
  return sum
}
