import type { KvCache } from '../kv-cache.js'
import type { Likely } from '../sampler.js'
import type { Draft } from './draft.js'

/** Those that a user can name, beside 'auto' and 'none'; 'own' is the one that was given to the client. */
export const DRAFTER_NAMES = ['lookup', 'assistant', 'self', 'own'] as const
export type DrafterName = typeof DRAFTER_NAMES[number]

/** What a drafter goes on from. */
export interface DraftContext {
  /** Prompt and answer. */
  tokens: readonly number[]
  /** [H], the model's state behind the final norm where the newest token came from. */
  state: Float32Array
  /** The token that a sampler takes from logits for a position: the same one as of the model's, where the logits are alike. */
  pick: (logits: Float32Array, position: number) => number
  /**
   * The token that `pick` takes and those that it would take without it, at most `count`, with how likely the model's choice is each of them. `probabilities`: the softmax of the logits,
   * where it is there already.
   */
  likely: (logits: Float32Array, position: number, count: number, probabilities?: Float32Array) => Likely[]
  signal?: AbortSignal
}

/** What drafters of this machine's own parts of the model read beside that. */
export interface ModelContext extends DraftContext {
  /** Of the model; holds all tokens but the newest. */
  cache: KvCache
}

/** Proposes tokens that the model then confirms or rejects, several in one lap. What it proposes changes how long a text takes, never the text. */
export interface Drafter<Context extends DraftContext = DraftContext> {
  /** Tokens after `context.tokens`, at most `length`, at least 1; fewer where it knows no more. The first n of a draft are the draft of n tokens. Leaves the cache as it was. */
  draft: (context: Context, length: number) => Draft | Promise<Draft>
}
