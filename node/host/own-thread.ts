import type { Bundle } from '../../model-tools/index.js'
import type { ComputeRequest, ComputeResult } from './compute-messages.js'
import { ThreadExperts } from './thread-experts.js'

/** The calling thread as a compute worker: requests are answered one at a time, in order. */
export class OwnThread {
  readonly #experts: ThreadExperts
  #tail: Promise<unknown> = Promise.resolve()
  #stopped: Error | undefined

  constructor (bundle: Bundle) {
    this.#experts = new ThreadExperts(bundle)
  }

  async request (request: ComputeRequest): Promise<ComputeResult> {
    const performed = this.#tail.then(async () => {
      if (this.#stopped !== undefined) throw this.#stopped
      const start = performance.now()
      const performed = await this.#experts.perform(request)
      return { ...performed, serviceMicros: Math.round((performance.now() - start) * 1000) }
    })
    this.#tail = performed.catch(() => undefined)
    return await performed
  }

  /** Rejects what is waiting with `reason`. */
  async stop (reason: Error): Promise<void> {
    this.#stopped = reason
    await this.#tail
    await this.#experts.release()
  }
}
