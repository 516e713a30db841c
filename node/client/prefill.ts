import type { AttentionClient, LapResult } from './attention-client.js'
import type { KvCache } from './kv-cache.js'
import type { LapProfile } from './lap-profile.js'
import type { Observation } from './observation.js'

/** Tokens of the longest chunk. Where a layer has 128 experts and a token takes 8, an expert gets four tokens of it: longer ones gain it little. */
const LONGEST_CHUNK = 64

/** Tokens below which a prompt is not cut for the sake of more chunks: each costs a request a layer. */
const SHORTEST_CHUNK = 16

/** Chunks that a shorter prompt is cut into, so that some compute while others travel. */
const CHUNKS = 4

/** Chunks under way at most, which bounds what a peer must queue. */
const MOST_IN_FLIGHT = 16

export interface PrefillEvent {
  type: 'prefill'
  /** Tokens read, of `total`. */
  done: number
  total: number
}

export interface PrefillOptions {
  profile: LapProfile
  observation?: Observation
  signal?: AbortSignal
}

/**
 * How a prompt is cut: into equal chunks. It depends on nothing but the prompt, since where the cuts are shows in the last bits of the result; how many
 * chunks are under way does not.
 */
export function prefillChunks (tokens: number[]): number[][] {
  const longest = Math.min(LONGEST_CHUNK, Math.max(SHORTEST_CHUNK, Math.ceil(tokens.length / CHUNKS)))
  const count = Math.ceil(tokens.length / longest)
  const length = Math.ceil(tokens.length / count)
  return Array.from({ length: count }, (_, i) => tokens.slice(i * length, (i + 1) * length)).filter(chunk => chunk.length > 0)
}

/**
 * Reads into the cache what it does not hold of a prompt, with an event after each chunk in their order; returns what the lap of the last one gave. Whenever there
 * is nothing to compute, because all wait for the network, the next chunk sets out. So as many are under way as hide the round
 * trips, 1 + round trip / compute of a chunk, and no more. When it throws or is left, no lap is in flight any more.
 */
export async function * prefill (client: AttentionClient, cache: KvCache, tokens: number[], { profile, observation, signal }: PrefillOptions): AsyncGenerator<PrefillEvent, LapResult, void> {
  const cached = cache.length
  const chunks = prefillChunks(tokens.slice(cached))
  const left = new AbortController()
  const either = signal === undefined ? left.signal : AbortSignal.any([signal, left.signal])
  const laps: Array<Promise<LapResult>> = []
  let start: Promise<void> = Promise.resolve()
  for (const [i, chunk] of chunks.entries()) {
    start = start.then(async () => {
      if (i > 0) await Promise.race([laps[i - 1], client.turns.idle()])
      if (i >= MOST_IN_FLIGHT) await laps[i - MOST_IN_FLIGHT]
    })
    const lap = start.then(async () => await client.lap(chunk, cache, { wanted: i === chunks.length - 1 ? 'last' : 'none', pass: 'prefill', profile, observation, signal: either }))
    lap.catch(() => { /* whoever awaits it below hears of it; those behind it fail likewise */ })
    laps.push(lap)
  }
  try {
    let done = cached
    for (const [i, chunk] of chunks.entries()) {
      await laps[i]
      done += chunk.length
      yield { type: 'prefill', done, total: tokens.length }
    }
    return await laps[laps.length - 1]
  } finally {
    left.abort()
    await Promise.allSettled(laps)
  }
}
