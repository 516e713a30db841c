import type { KvCache } from './kv-cache.js'

/** Equal tokens from which on taking a cache over saves more than it costs others who might. */
const SHORTEST_PREFIX = 16

interface Kept {
  /** Those that the cache holds. */
  tokens: readonly number[]
  cache: KvCache
}

/** The caches of sequences that ended, for those that go on from them: the next turn of a conversation, another question about the same text. */
export class KeptCaches {
  /** The one that ended longest ago first. */
  private kept: Kept[] = []

  constructor (private readonly maxBytes: number) {}

  get size (): number { return this.kept.length }

  /**
   * Hands out the cache that has most of the prompt, cut to that: at least half of the prompt or of what it holds, so that a common beginning does not cost a
   * conversation its cache. At least one token of the prompt is left to compute. Undefined where there is none, or its rings have lost what is needed.
   */
  take (prompt: readonly number[]): KvCache | undefined {
    let best: Kept | undefined
    let longest = SHORTEST_PREFIX - 1
    const cacheable = prompt.slice(0, -1)
    for (const kept of this.kept) {
      const common = commonPrefix(kept.tokens, cacheable)
      if (common <= longest || 2 * common < Math.min(kept.tokens.length, prompt.length) || !kept.cache.canTruncate(common)) continue
      best = kept
      longest = common
    }
    if (best === undefined) return undefined
    this.kept = this.kept.filter(kept => kept !== best)
    best.cache.truncate(longest)
    return best.cache
  }

  /** Keeps a cache that no lap uses any more. `tokens` are those of its sequence; it may hold fewer, and more that count for nothing. */
  put (tokens: readonly number[], cache: KvCache): void {
    const held = tokens.slice(0, cache.length)
    if (held.length < SHORTEST_PREFIX) return
    this.kept.push({ tokens: held, cache })
    while (this.kept.reduce((sum, kept) => sum + kept.cache.bytes, 0) > this.maxBytes) this.kept.shift()
  }

  /** Drops those that a reply of one of these peers went into uncompared. */
  dropOf (peerIds: ReadonlySet<string>): void {
    if (peerIds.size > 0) this.kept = this.kept.filter(({ cache }) => cache.contributors.firstOf(peerIds) === undefined)
  }

  /** Drops the oldest beyond `count`. */
  shrink (count: number): void {
    this.kept.splice(0, Math.max(0, this.kept.length - count))
  }
}

function commonPrefix (a: readonly number[], b: readonly number[]): number {
  const end = Math.min(a.length, b.length)
  let length = 0
  while (length < end && a[length] === b[length]) length++
  return length
}
