import { setTimeout as sleep } from 'node:timers/promises'
import { SwarmError } from '../../swarm/index.js'
import type { ComputeRequest, ComputeResult, ComputeWorkerData } from './compute-messages.js'
import { ComputeThread } from './compute-thread.js'

/** A worker that dies more often than this within the window is not started again: what kills it is not chance. */
const MAX_RESTARTS = 3
const RESTART_WINDOW_MS = 10 * 60_000

/** Before the second start within the window, doubling: a machine that is short of memory needs a moment. */
const RESTART_DELAY_MS = 1_000

/** What a client should wait before it asks again a peer whose worker is being started, in milliseconds. */
const RESTARTING_RETRY_MS = 500

/** What becomes of a worker that ended by itself. */
export interface ThreadObserver {
  /** It is being started again; until `onRestarted` it computes nothing. */
  onEnded: (cause: Error) => void
  /** It holds these many experts, all that it held before. */
  onRestarted: (experts: number) => void
  /** It stays dead. */
  onFailure: (error: Error) => void
}

/**
 * A compute worker that is started again when it dies (an uncaught error, no heap, an exit; a crash of native code takes the process), with the
 * experts that it held. What waits for it then, and what comes until it is back, is refused as 'busy': a client asks a replica, or again.
 */
export class LastingThread {
  #thread: ComputeThread
  /** Those that the worker holds, by layer and expert. */
  readonly #held = new Map<string, ComputeRequest & { kind: 'load' }>()
  /** Times of the last restarts, on the clock of performance.now. */
  #restarts: number[] = []
  #down = false
  #failure: Error | undefined
  readonly #stopped = new AbortController()

  constructor (private readonly data: ComputeWorkerData, private readonly observer: ThreadObserver) {
    this.#thread = this.#start()
  }

  /** Rejects with the worker's ModelError; SwarmError 'busy' when it ended or is being started again; what ended it when it stays dead. */
  async request (request: ComputeRequest): Promise<ComputeResult> {
    if (this.#failure !== undefined) throw this.#failure
    if (request.kind === 'unload') {
      // Also while it is being started: it may have loaded the expert again just now.
      this.#held.delete(keyOf(request.layer, request.expert))
      const thread = this.#thread
      return await thread.request(request).catch((error: unknown) => {
        if (thread.failure === undefined) throw error
        return { serviceMicros: 0 } // a dead worker holds nothing
      })
    }
    if (this.#down) throw restarting()
    const result = await this.#thread.request(request)
    if (request.kind === 'load') this.#held.set(keyOf(request.expert.layer, request.expert.expert), request)
    return result
  }

  /** Rejects what is waiting with `reason`. */
  async stop (reason: Error): Promise<void> {
    this.#failure ??= reason
    this.#stopped.abort()
    await this.#thread.stop(reason)
  }

  #start (): ComputeThread {
    return new ComputeThread(this.data, cause => {
      void this.#restart(cause)
      return restarting(cause)
    })
  }

  async #restart (cause: Error): Promise<void> {
    if (!this.#down) this.observer.onEnded(cause)
    this.#down = true
    const now = performance.now()
    this.#restarts = this.#restarts.filter(at => now - at < RESTART_WINDOW_MS)
    if (this.#restarts.length >= MAX_RESTARTS) {
      this.#fail(new Error(`A compute worker ended ${MAX_RESTARTS + 1} times within ${RESTART_WINDOW_MS / 60_000} minutes and is not started again, the last time because of: ${cause.message}`, { cause }))
      return
    }
    this.#restarts.push(now)
    let thread: ComputeThread | undefined
    try {
      if (this.#restarts.length > 1) await sleep(RESTART_DELAY_MS * 2 ** (this.#restarts.length - 2), undefined, { signal: this.#stopped.signal })
      thread = this.#thread = this.#start()
      for (const load of this.#held.values()) await thread.request(load)
      this.#down = false
      this.observer.onRestarted(this.#held.size)
    } catch (error) {
      // What ended it meanwhile has begun another restart.
      if (this.#stopped.signal.aborted || thread?.failure !== undefined) return
      this.#fail(new Error(`A compute worker ended (${cause.message}), and what it held cannot be loaded again: ${error instanceof Error ? error.message : String(error)}`, { cause: error }))
    }
  }

  #fail (error: Error): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.observer.onFailure(error)
  }
}

function restarting (cause?: Error): SwarmError<'busy'> {
  const why = cause === undefined ? '' : ` (${cause.message})`
  return new SwarmError('busy', `A compute worker ended${why} and is being started again: ask another peer or later.`, { retryAfterMs: RESTARTING_RETRY_MS }, { cause })
}

function keyOf (layer: number, expert: number): string {
  return `${layer}/${expert}`
}
