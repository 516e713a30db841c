import type { DispatchResult, ExpertBatch, ExpertDispatcher } from '../../../swarm/index.js'
import type { AttentionClient } from '../attention-client.js'
import { chain, type Draft } from './draft.js'
import type { Drafter, ModelContext } from './drafter.js'

/** Computes the layers in `layers`, and leaves out the experts of all others. */
export class LocalOnly implements ExpertDispatcher {
  constructor (private readonly layers: ReadonlySet<number>, private readonly local: ExpertDispatcher | undefined) {}

  async dispatch (batch: ExpertBatch, signal?: AbortSignal): Promise<DispatchResult> {
    if (this.local !== undefined && this.layers.has(batch.layer)) return await this.local.dispatch(batch, signal)
    return { sum: new Float32Array(batch.hidden.length), timing: { encodeMs: 0, networkMs: 0, queueMs: 0, serviceMs: 0, decodeMs: 0, combineMs: 0 } }
  }
}

/**
 * The model as its own drafter, with what this machine has of it. It writes behind the end of the model's cache, where the lap that
 * confirms or rejects the draft then writes the true keys and values.
 */
export class SelfDrafter implements Drafter<ModelContext> {
  constructor (private readonly client: AttentionClient, private readonly dispatcher: ExpertDispatcher) {}

  async draft ({ tokens, cache, pick, signal }: ModelContext, length: number): Promise<Draft> {
    const { length: end } = cache
    const drafted: number[] = []
    try {
      while (drafted.length < length) {
        const { logits } = await this.client.lap([drafted.at(-1) ?? tokens[tokens.length - 1]], cache, { dispatcher: this.dispatcher, signal })
        drafted.push(pick(logits, tokens.length + drafted.length))
      }
    } finally {
      cache.truncate(end)
    }
    return chain(drafted)
  }
}
