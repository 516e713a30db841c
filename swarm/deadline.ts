import { setMaxListeners } from 'node:events'
import { anySignal } from 'any-signal'

/** A signal for work that may take so long, to be let go of when that has ended: `using limit = within(...)`. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal
}

/**
 * Aborts after `ms`, with a DOMException 'TimeoutError', or as soon as one of `signals` does.
 * Not AbortSignal.any: in Node 20 a signal keeps about 70 bytes for each that was ever made of it, so one that lives as long as the process grows (https://github.com/nodejs/node/issues/54614).
 */
export function within (ms: number, ...signals: Array<AbortSignal | undefined>): Deadline {
  const late = new AbortController()
  const timer = setTimeout(() => { late.abort(new DOMException(`It took longer than ${ms} ms.`, 'TimeoutError')) }, ms)
  const signal = anySignal([...signals, late.signal])
  // Each message of a DHT query listens to the query's signal, and dozens are under way: no leak, so no warning.
  setMaxListeners(0, signal)
  return {
    signal,
    [Symbol.dispose]: () => {
      clearTimeout(timer)
      signal.clear()
    }
  }
}
