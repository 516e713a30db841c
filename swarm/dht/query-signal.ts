import { setMaxListeners } from 'node:events'

/** Signals of a DHT query are listened to by each of its messages, and a query has dozens under way: no leak, so no warning. */
export function querySignal (signals: AbortSignal[], timeoutMs: number): AbortSignal {
  const signal = AbortSignal.any([...signals, AbortSignal.timeout(timeoutMs)])
  setMaxListeners(0, signal)
  return signal
}
