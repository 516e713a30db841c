import type { ExpertBatch, ExpertSum } from '../../swarm/index.js'
import { merged } from '../expert-batch.js'

/** Jobs with the workers at once: while one is computed the next one lies ready, and what comes meanwhile can still be merged. */
export const JOBS_AT_ONCE = 2

/** A merged job ends at this many tokens, so that no batch waits long behind it. */
const MAX_JOB_TOKENS = 64

/** What the workers make of a job. */
export interface JobResult {
  /** [tokens, H] */
  sum: Float32Array
  serviceMicros: number
}

interface Waiting {
  batch: ExpertBatch
  submittedAt: number
  resolve: (sum: ExpertSum) => void
  reject: (error: Error) => void
}

/**
 * Batches that wait for the compute workers. The oldest goes next, and with it every other one of its layer: an expert that several
 * tokens chose is read from memory once, and reading is what an expert costs. A row's result has the same bits in
 * every company, but in u4, where it differs by rounding.
 */
export class BatchQueue {
  readonly #waiting: Waiting[] = []
  readonly #submitted = new Set<Promise<ExpertSum>>()
  /** Jobs with the workers. */
  readonly #jobs = new Set<Promise<void>>()

  constructor (private readonly run: (job: ExpertBatch) => Promise<JobResult>) {}

  /** Resolves when nothing of what was submitted until now waits or is computed. */
  async settled (): Promise<void> {
    await Promise.allSettled(this.#submitted)
    await Promise.all(this.#jobs) // a batch that was given up meanwhile may still be with the workers
  }

  /** Rejects as `run` does, or with the signal's reason; a batch that still waits is then not computed at all. */
  async submit (batch: ExpertBatch, signal?: AbortSignal): Promise<ExpertSum> {
    signal?.throwIfAborted()
    const submitted = this.#wait(batch, signal)
    this.#submitted.add(submitted)
    return await submitted.finally(() => { this.#submitted.delete(submitted) })
  }

  async #wait (batch: ExpertBatch, signal: AbortSignal | undefined): Promise<ExpertSum> {
    return await new Promise((resolve, reject) => {
      const settled = (): void => { signal?.removeEventListener('abort', abort) }
      const waiting: Waiting = {
        batch,
        submittedAt: performance.now(),
        resolve: sum => { settled(); resolve(sum) },
        reject: error => { settled(); reject(error) }
      }
      const abort = (): void => {
        const at = this.#waiting.indexOf(waiting)
        if (at >= 0) this.#waiting.splice(at, 1)
        waiting.reject(signal?.reason as Error)
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#waiting.push(waiting)
      this.#start()
    })
  }

  #start (): void {
    while (this.#jobs.size < JOBS_AT_ONCE && this.#waiting.length > 0) {
      const job = this.#compute(this.#take())
      this.#jobs.add(job)
      void job.finally(() => {
        this.#jobs.delete(job)
        this.#start()
      })
    }
  }

  /** The oldest batch and those of its layer, in order of arrival. */
  #take (): Waiting[] {
    const [{ batch: { layer } }] = this.#waiting
    const taken: Waiting[] = []
    let tokens = 0
    for (let at = 0; at < this.#waiting.length;) {
      const { batch } = this.#waiting[at]
      if (batch.layer === layer && (taken.length === 0 || tokens + batch.tokens <= MAX_JOB_TOKENS)) {
        tokens += batch.tokens
        taken.push(...this.#waiting.splice(at, 1))
      } else {
        at++
      }
    }
    return taken
  }

  async #compute (taken: Waiting[]): Promise<void> {
    let result: JobResult
    try {
      result = await this.run(taken.length === 1 ? taken[0].batch : merged(taken.map(({ batch }) => batch)))
    } catch (error) {
      for (const { reject } of taken) reject(error as Error)
      return
    }
    const { sum, serviceMicros } = result
    const now = performance.now()
    let at = 0
    for (const { batch, submittedAt, resolve } of taken) {
      const end = at + batch.hidden.length
      const queueMicros = Math.max(0, Math.round((now - submittedAt) * 1000) - serviceMicros)
      resolve({ sum: taken.length === 1 ? sum : sum.subarray(at, end), queueMicros, serviceMicros })
      at = end
    }
  }
}
