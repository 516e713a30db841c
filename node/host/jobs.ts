import type { ExpertBatch } from '../../swarm/index.js'
import { sliced } from '../expert-batch.js'
import { type JobResult, JOBS_AT_ONCE } from './batch-queue.js'
import type { ComputeResult } from './compute-messages.js'
import { JobMemory } from './job-memory.js'
import { SharedJob } from './shared-job.js'
import type { Thread } from './spread.js'

/** Of a job, 23 MB of memory at the 26B shape: what has more is computed in parts. */
const MAX_JOB_TOKENS = 256

/** About an expert's run of a few rows: so long does the own thread, when nothing is left to claim, wait for the others without looking at anything else. */
const AWAITED_MS = 1

/** Has batches computed by threads that share the work. */
export class Jobs {
  readonly #memory = new JobMemory(JOBS_AT_ONCE + 1)
  #running = 0

  /**
   * @param holders - the threads that hold an expert, by index: the first must be asked for it, others may help
   * @param ownThread - which of them is the calling one, that may be kept for a moment
   */
  constructor (private readonly threads: Thread[], private readonly holders: (layer: number, expert: number) => number[], private readonly ownThread?: Thread) {}

  /** Rejects as a thread does, once all have ended. */
  async run (batch: ExpertBatch): Promise<JobResult> {
    const slices = sliced(batch, MAX_JOB_TOKENS)
    if (slices.length === 1) return await this.#run(batch)
    const sum = new Float32Array(batch.hidden.length)
    let serviceMicros = 0
    let at = 0
    for (const slice of slices) {
      const result = await this.#run(slice)
      sum.set(result.sum, at)
      at += result.sum.length
      serviceMicros += result.serviceMicros
    }
    return { sum, serviceMicros }
  }

  async #run (batch: ExpertBatch): Promise<JobResult> {
    const shared = SharedJob.of(batch, bytes => this.#memory.take(bytes))
    const { job, experts } = shared
    const asked = this.#askedFor(batch.layer, experts)
    const requests = this.threads.flatMap((thread, index) => asked.has(index) ? [{ thread, ended: thread.request(job) }] : [])
    const ended = Promise.allSettled(requests.map(({ ended }) => ended))
    this.#running++
    try {
      const serviceMicros = await this.#withOwnThread(shared, requests.find(({ thread }) => thread === this.ownThread)?.ended) ?? serviceOf(await ended)
      if (experts.length > 0 && !shared.done()) throw new Error(`An expert of layer ${batch.layer} is held by no thread.`)
      return { sum: experts.length === 0 ? new Float32Array(batch.hidden.length) : shared.sum(), serviceMicros }
    } finally {
      this.#running--
      // A thread that is late looks for something to claim.
      void ended.then(() => { this.#memory.giveBack(job.memory) })
    }
  }

  /** The service of a job whose end the own thread has waited for: the other threads' messages would take longer than what is left of their work. */
  async #withOwnThread (shared: SharedJob, own: Promise<ComputeResult> | undefined): Promise<number | undefined> {
    if (own === undefined) return undefined
    const { serviceMicros } = await own.catch(() => ({ serviceMicros: undefined })) // thrown by who looks at all
    if (serviceMicros === undefined || this.#running > 1) return undefined
    const start = performance.now()
    return shared.done(AWAITED_MS) ? serviceMicros + Math.round((performance.now() - start) * 1000) : undefined
  }

  /** Those that must be asked, and where they are fewer than the experts, others that can help. */
  #askedFor (layer: number, experts: Uint16Array): Set<number> {
    const asked = new Set<number>()
    for (const expert of experts) asked.add(this.holders(layer, expert)[0])
    for (const expert of experts) {
      if (asked.size >= experts.length) break
      for (const helper of this.holders(layer, expert).slice(1)) asked.add(helper)
    }
    return asked
  }
}

/** @throws what a thread failed with */
function serviceOf (ended: Array<PromiseSettledResult<ComputeResult>>): number {
  return Math.max(0, ...ended.map(result => {
    if (result.status === 'rejected') throw result.reason
    return result.value.serviceMicros
  }))
}
