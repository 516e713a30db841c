import type { DispatchResult, ExpertBatch, ExpertDispatcher } from '../../swarm/index.js'
import { merged } from '../expert-batch.js'

/** When a request was handed to the sockets, on the clock of performance.now. */
export interface Sending {
  fromMs: number
  toMs: number
}

/** A batch that waits for others of its layer. */
interface Gathered {
  batch: ExpertBatch
  dispatcher: ExpertDispatcher
  signal?: AbortSignal
  /** Told when it was sent; `last` is the one of several that are sent together whose turn it ends. */
  onSent: (sending: Sending, last: boolean) => void
  resolve: (result: DispatchResult | Promise<DispatchResult>) => void
  reject: (reason: unknown) => void
}

/**
 * Requests of several sequences for one layer, sent as one. A frame costs both sides a fixed time (encryption, events, system calls) that is more than what a token's bytes
 * cost, and an expert that several tokens chose is read from memory once.
 */
export class SharedRequests {
  private readonly gathered: Gathered[] = []

  /** The experts of a batch; it is sent at the next `send`, or never where the signal aborts before. */
  async add (batch: ExpertBatch, dispatcher: ExpertDispatcher, onSent: Gathered['onSent'], signal?: AbortSignal): Promise<DispatchResult> {
    return await new Promise((resolve, reject) => { this.gathered.push({ batch, dispatcher, signal, onSent, resolve, reject }) })
  }

  /** Sends what was gathered, with the sockets when it returns. */
  send (): void {
    if (this.gathered.length === 0) return
    const fromMs = performance.now()
    const all = this.gathered.splice(0)
    const alive = all.filter(({ signal, reject }) => {
      if (signal?.aborted === true) reject(signal.reason)
      return signal?.aborted !== true
    })
    for (const dispatcher of new Set(alive.map(one => one.dispatcher))) {
      const own = alive.filter(one => one.dispatcher === dispatcher)
      if (own.length === 1) own[0].resolve(dispatcher.dispatch(own[0].batch, own[0].signal))
      else sendTogether(dispatcher, own)
    }
    const sending = { fromMs, toMs: performance.now() }
    for (const [i, { onSent }] of all.entries()) onSent(sending, i === all.length - 1)
  }
}

/** One that aborts hears of it at once; the request is cancelled when all have. */
function sendTogether (dispatcher: ExpertDispatcher, members: Gathered[]): void {
  const left = new AbortController()
  let waiting = members.length
  const leavers = members.map(({ signal, reject }) => {
    const leave = (): void => {
      reject(signal?.reason)
      if (--waiting === 0) left.abort(signal?.reason)
    }
    signal?.addEventListener('abort', leave, { once: true })
    return () => { signal?.removeEventListener('abort', leave) }
  })
  void dispatcher.dispatch(merged(members.map(({ batch }) => batch)), left.signal).finally(() => { for (const stay of leavers) stay() }).then(result => {
    const { sum, timing } = result
    let at = 0
    for (const [i, { batch, resolve }] of members.entries()) {
      const end = at + batch.hidden.length
      // Encoding is part of sending, for which only the last one's turn was used.
      resolve({ ...result, sum: sum.subarray(at, end), timing: i === members.length - 1 ? timing : { ...timing, encodeMs: 0 } })
      at = end
    }
  }, (reason: unknown) => { for (const { reject } of members) reject(reason) })
}
