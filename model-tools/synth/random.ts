/** Multiplier and offset basis of FNV-1a with 32 bits. */
const FNV_PRIME = 0x01000193
const FNV_BASIS = 0x811c9dc5
/** 2^32 divided by the golden ratio: spreads counters over all 32 bits. */
const GOLDEN = 0x9e3779b9

/** FNV-1a over the UTF-16 units of a text. */
export function hashText (text: string): number {
  let hash = FNV_BASIS
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), FNV_PRIME)
  return hash >>> 0
}

/**
 * Fills `words` with random bits: Marsaglia's xorshift with 128 bits of state, more than a GB a second. The same for the same stream and
 * page; those of another page are others.
 */
export function fillRandom (words: Uint32Array, stream: number, page: number): void {
  let x = scramble(stream ^ Math.imul(page, GOLDEN))
  let y = scramble(x ^ page)
  let z = scramble(y ^ stream)
  // The one state that would stay at zero is all zeros.
  let w = scramble(z) | 1
  for (let i = 0; i < words.length; i++) {
    const t = x ^ (x << 11)
    x = y
    y = z
    z = w
    w = w ^ (w >>> 19) ^ t ^ (t >>> 8)
    words[i] = w
  }
}

/** The finaliser of MurmurHash3, behind a step of a counter. */
function scramble (value: number): number {
  let hash = (value + GOLDEN) | 0
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}
