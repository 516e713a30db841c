import type { ExpertBatch } from '../../swarm/index.js'
import { sliced } from '../expert-batch.js'
import { type JobResult, JOBS_AT_ONCE } from './batch-queue.js'
import { JobMemory } from './job-memory.js'
import { SharedJob } from './shared-job.js'
import type { Thread } from './spread.js'

/** Of a job, 23 MB of memory at the 26B shape: what has more is computed in parts. */
const MAX_JOB_TOKENS = 256

/** Has batches computed by threads that share the work. */
export class Jobs {
  readonly #memory = new JobMemory(JOBS_AT_ONCE)

  /** @param holders - the threads that hold an expert, by index: the first must be asked for it, others may help */
  constructor (private readonly threads: Thread[], private readonly holders: (layer: number, expert: number) => number[]) {}

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
    const { job, experts } = SharedJob.of(batch, bytes => this.#memory.take(bytes))
    const asked = this.#askedFor(batch.layer, experts)
    const ended = await Promise.allSettled(this.threads.flatMap((thread, index) => asked.has(index) ? [thread.request(job)] : []))
    this.#memory.giveBack(job.memory)
    const results = ended.map(result => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
    const sum = experts.length === 0 ? new Float32Array(batch.hidden.length) : results.find(({ sum }) => sum.length > 0)?.sum
    if (sum === undefined) throw new Error(`An expert of layer ${batch.layer} is held by no thread.`)
    return {
      sum,
      serviceMicros: Math.max(0, ...results.map(result => result.serviceMicros))
    }
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
