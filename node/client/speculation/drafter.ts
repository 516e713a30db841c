import type { KvCache } from '../kv-cache.js'
import type { Likely } from '../sampler.js'
import type { Draft } from './draft.js'

/** Those that a user can name, beside 'auto' and 'none'. */
export const DRAFTER_NAMES = ['lookup', 'assistant', 'self'] as const
export type DrafterName = typeof DRAFTER_NAMES[number]

/** What a drafter goes on from. */
export interface DraftContext {
  /** Prompt and answer. The newest token is the last one, and not in the cache. */
  tokens: readonly number[]
  /** Of the model; holds all tokens but the newest. */
  cache: KvCache
  /** [H], the model's state behind the final norm where the newest token came from. */
  state: Float32Array
  /** The token that a sampler takes from logits for a position: the same one as of the model's, where the logits are alike. */
  pick: (logits: Float32Array, position: number) => number
  /** The token that `pick` takes and those that it would take without it, at most `count`, with how likely the model's choice is each of them. */
  likely: (logits: Float32Array, position: number, count: number) => Likely[]
  signal?: AbortSignal
}

/** Proposes tokens that the model then confirms or rejects, several in one lap. What it proposes changes how long a text takes, never the text. */
export interface Drafter {
  /** Tokens after `context.tokens`, at most `length`; fewer where it knows no more. The first n of a draft are the draft of n tokens. Leaves the cache as it was. */
  draft: (context: DraftContext, length: number) => Promise<Draft>
}
