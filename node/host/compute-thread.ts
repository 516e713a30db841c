import '../telemetry.js'
import { Worker } from 'node:worker_threads'
import { ModelError, type ModelErrorCode } from '../../model-tools/index.js'
import { SwarmError } from '../../swarm/index.js'
import type { ComputeMessage, ComputeReply, ComputeRequest, ComputeResult, ComputeWorkerData } from './compute-messages.js'

/** No job takes so long, but a worker on a disk that hangs. */
const STOP_MS = 30_000

interface Pending {
  resolve: (result: ComputeResult) => void
  reject: (error: Error) => void
}

/** What a job leaves as garbage is small. With node's limit (48) each worker of a peer would keep some ten MiB of it. */
const YOUNG_GENERATION_MIB = 6

/** A compute worker as its host sees it: requests are answered one at a time, in order. */
export class ComputeThread {
  readonly #worker: Worker
  readonly #pending = new Map<number, Pending>()
  readonly #ended: Promise<void>
  #nextId = 0
  #failure?: Error
  #stopping = false

  /** `onEnded` is called when the worker ends without `stop`, and says what those who wait are told. */
  constructor (workerData: ComputeWorkerData, private readonly onEnded: (cause: Error) => Error) {
    this.#worker = new Worker(new URL('./compute-worker.js', import.meta.url), { workerData, resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MIB } })
    this.#worker.on('message', (reply: ComputeReply) => { this.#onReply(reply) })
    this.#worker.on('error', error => { this.#fail(error) })
    this.#ended = new Promise(resolve => {
      this.#worker.on('exit', () => {
        this.#fail(new Error('A compute worker ended.'))
        resolve()
      })
    })
  }

  /** What ended the worker. */
  get failure (): Error | undefined { return this.#failure }

  /** Rejects with the worker's ModelError, or with what `onEnded` made of the worker's end. */
  async request (request: ComputeRequest): Promise<ComputeResult> {
    if (this.#failure !== undefined) throw this.#failure
    const id = this.#nextId++
    return await new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject })
      this.#post({ id, request })
    })
  }

  /** Rejects what is waiting with `reason`. The worker ends when what it computes is done, or is ended after STOP_MS. */
  async stop (reason: Error): Promise<void> {
    this.#stopping = true
    this.#fail(reason)
    this.#post({ stop: true })
    const stuck = setTimeout(() => { void this.#worker.terminate() }, STOP_MS)
    await this.#ended
    clearTimeout(stuck)
  }

  #post (message: ComputeMessage): void {
    this.#worker.postMessage(message)
  }

  #onReply (reply: ComputeReply): void {
    const pending = this.#pending.get(reply.id)
    this.#pending.delete(reply.id)
    if ('result' in reply) {
      pending?.resolve(reply.result)
      return
    }
    const { message, code, data } = reply.error
    pending?.reject(code === undefined
      ? new SwarmError('compute-failed', `An expert could not be computed: ${message}`, {})
      : new ModelError(code as ModelErrorCode, message, data))
  }

  #fail (error: Error): void {
    this.#failure ??= this.#stopping ? error : this.onEnded(error)
    for (const { reject } of this.#pending.values()) reject(this.#failure)
    this.#pending.clear()
  }
}
