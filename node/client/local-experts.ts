import { setTimeout as sleep } from 'node:timers/promises'
import { type DispatchResult, type ExpertBatch, type ExpertCompute, type ExpertDispatcher, type ExpertSum, isSwarmError } from '../../swarm/index.js'

/** The dispatcher that needs no network: an expert host of this process. */
export class LocalExperts implements ExpertDispatcher {
  constructor (private readonly host: ExpertCompute) {}

  sharesCores (): boolean { return true }

  async dispatch (batch: ExpertBatch, signal?: AbortSignal): Promise<DispatchResult> {
    const { sum, queueMicros, serviceMicros } = await this.compute(batch, signal)
    return { sum, timing: { encodeMs: 0, networkMs: 0, queueMs: queueMicros / 1000, serviceMs: serviceMicros / 1000, decodeMs: 0, combineMs: 0 } }
  }

  /** There is no replica to ask: a worker that is being started again is waited for. */
  private async compute (batch: ExpertBatch, signal?: AbortSignal): Promise<ExpertSum> {
    for (;;) {
      try {
        return await this.host.compute(batch, signal)
      } catch (error) {
        if (!isSwarmError(error, 'busy')) throw error
        await sleep(error.data.retryAfterMs, undefined, { signal }).catch(() => { signal?.throwIfAborted() })
      }
    }
  }
}

/** Layer -> [experts], 1 for those that this process computes. */
export type HeldExperts = ReadonlyMap<number, Uint8Array>

/**
 * What `held` has is computed by `local`, the rest by `remote`. A batch of both is split by expert: its local part is computed while the request
 * travels. Each token's sum is that of the remote part plus that of the local one, whichever is there first.
 */
export class SplitDispatcher implements ExpertDispatcher {
  constructor (private readonly held: HeldExperts, private readonly local: ExpertDispatcher, private readonly remote: ExpertDispatcher) {}

  dispatch (batch: ExpertBatch, signal?: AbortSignal): Promise<DispatchResult> {
    const held = this.held.get(batch.layer)
    if (held === undefined) return this.remote.dispatch(batch, signal)
    const assignments = batch.experts.length
    let here = 0
    for (let at = 0; at < assignments; at++) here += held[batch.experts[at]]
    if (here === assignments) return this.local.dispatch(batch, signal)
    if (here === 0) return this.remote.dispatch(batch, signal)
    return this.both(batch, held, signal)
  }

  sharesCores (layer: number): boolean { return this.held.get(layer)?.every(held => held === 1) === true || this.remote.sharesCores?.(layer) === true }

  private async both (batch: ExpertBatch, held: Uint8Array, signal?: AbortSignal): Promise<DispatchResult> {
    // The request first: it is on its way when this process computes.
    const [remote, local] = await Promise.all([
      ended(this.remote.dispatch(restrict(batch, expert => held[expert] === 0), signal)),
      ended(this.local.dispatch(restrict(batch, expert => held[expert] === 1), signal))
    ])
    const start = performance.now()
    const sum = remote.sum.map((value, i) => value + local.sum[i])
    const combineMs = remote.timing.combineMs + performance.now() - start
    const slowest = local.at > remote.at ? local.timing : remote.timing
    return { sum, timing: { ...slowest, encodeMs: remote.timing.encodeMs, decodeMs: remote.timing.decodeMs, combineMs }, unchecked: remote.unchecked }
  }
}

async function ended (result: Promise<DispatchResult>): Promise<DispatchResult & { at: number }> {
  return { ...await result, at: performance.now() }
}

/** The assignments of a batch to some experts; all tokens stay, some without any. */
export function restrict (batch: ExpertBatch, wanted: (expert: number) => boolean): ExpertBatch {
  const counts = new Uint16Array(batch.tokens)
  const places: number[] = []
  for (let token = 0, at = 0; token < batch.tokens; token++) {
    for (const end = at + batch.counts[token]; at < end; at++) {
      if (!wanted(batch.experts[at])) continue
      counts[token]++
      places.push(at)
    }
  }
  return { ...batch, counts, experts: Uint16Array.from(places, at => batch.experts[at]), weights: Float32Array.from(places, at => batch.weights[at]) }
}
