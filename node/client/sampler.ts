import { ModelError } from '../../model-tools/index.js'

export interface SamplingOptions {
  /** 0 is greedy. */
  temperature: number
  /** Keep the k most likely tokens; 0 keeps all. */
  topK: number
  /** Keep the fewest tokens whose probabilities sum to at least p; 1 keeps all. */
  topP: number
  /** Equal seeds give equal tokens. */
  seed: number
}

/** Logits that are so much below the best are left out of a sum of odds: at e^-20 each, 262,144 of them are less than 0.1 % of it. */
const NEGLIGIBLE = 20

/** A token, and how likely another model's choice at the place is the same. */
export interface Likely {
  token: number
  share: number
}

/**
 * Picks the token of a position from logits [vocabulary]: temperature, then top-k, then top-p, as transformers orders them, then by chance.
 *
 * Chance is a function of seed, position and token: of the tokens that are kept, the one with the smallest -log(u) / odds is taken (an exponential race, which
 * each wins with its probability). So the token of a position does not depend on how many were picked before, or on how; and a drafter that picks
 * from logits much like the model's mostly picks the same token ("Coupling without Communication", Daliri et al. 2024, arXiv 2408.07978).
 */
export class Sampler {
  /** @throws ModelError 'out-of-range' naming the option */
  constructor (private readonly options: SamplingOptions) {
    const { temperature, topK, topP, seed } = options
    if (!(temperature >= 0 && Number.isFinite(temperature))) throw outOfRange(`The temperature is a number from 0 on, not ${temperature}.`)
    if (!Number.isInteger(topK) || topK < 0) throw outOfRange(`top-k is a whole number from 0 (all) on, not ${topK}.`)
    if (!(topP > 0 && topP <= 1)) throw outOfRange(`top-p is a number above 0 and at most 1, not ${topP}.`)
    if (!Number.isSafeInteger(seed)) throw outOfRange(`The seed is a whole number, not ${seed}.`)
  }

  sample (logits: Float32Array, position: number): number {
    if (this.options.temperature === 0) return argmax(logits)
    const { ids, times } = this.race(logits, position)
    let winner = 0
    for (let i = 1; i < ids.length; i++) if (times[i] < times[winner]) winner = i
    return ids[winner]
  }

  /**
   * The token that `sample` takes, the one that it takes without that, and so on, at most `count`. Their shares are estimates: the model's probabilities when
   * greedy, and else those of a race that is nearly run, in which who comes soon after the first may still be first by other logits.
   * @param probabilities - the softmax of the logits, where it is there already
   */
  likely (logits: Float32Array, position: number, count: number, probabilities?: Float32Array): Likely[] {
    if (this.options.temperature === 0) {
      const ids = mostLikely(logits, Math.min(count, logits.length))
      if (probabilities !== undefined) return Array.from(ids, token => ({ token, share: probabilities[token] }))
      const best = logits[ids[0]]
      let all = 0
      // Most of a vocabulary is so far behind that even together it weighs nothing.
      for (let i = 0; i < logits.length; i++) if (logits[i] > best - NEGLIGIBLE) all += Math.exp(logits[i] - best)
      return Array.from(ids, token => ({ token, share: Math.exp(logits[token] - best) / all }))
    }
    const { ids, times } = this.race(logits, position)
    const all = times.reduce((sum, time) => sum + 1 / time, 0)
    const order = Array.from(ids.keys()).sort((a, b) => times[a] - times[b]).slice(0, count)
    return order.map(i => ({ token: ids[i], share: 1 / (times[i] * all) }))
  }

  /** When each token that may be picked arrives: the first one is. */
  private race (logits: Float32Array, position: number): { ids: Uint32Array, times: Float64Array } {
    const { ids, odds } = this.kept(logits)
    const chance = new Chance(this.options.seed, position)
    return { ids, times: odds.map((odd, i) => -Math.log(chance.uniform(ids[i])) / odd) }
  }

  /** The tokens that may be picked and their probabilities, up to a common factor. */
  kept (logits: Float32Array): { ids: Uint32Array, odds: Float64Array } {
    const { temperature, topK, topP } = this.options
    const ids = mostLikely(logits, topK === 0 ? logits.length : Math.min(topK, logits.length))
    const best = logits[ids[0]]
    const odds = Float64Array.from(ids, id => Math.exp((logits[id] - best) / temperature))
    const all = odds.reduce((a, b) => a + b, 0)
    let kept = 0
    let mass = 0
    while (kept < ids.length && (kept === 0 || mass < topP * all)) mass += odds[kept++]
    return { ids: ids.subarray(0, kept), odds: odds.subarray(0, kept) }
  }
}

/** Random numbers of one position, one for each token. */
class Chance {
  private readonly a: number
  private readonly b: number

  constructor (seed: number, position: number) {
    const [low, high] = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0]
    this.a = mix(mix(mix(0x9e3779b9, low), high), position)
    this.b = mix(mix(mix(0x7f4a7c15, position), low), high)
  }

  /** Above 0 and below 1, in steps of 2^-52. */
  uniform (token: number): number {
    const x = mix(this.a, Math.imul(token, 0x9e3779b1))
    return ((mix(x, this.b) >>> 6) * 2 ** 26 + (mix(this.b, x) >>> 6) + 0.5) / 2 ** 52
  }
}

/** Spreads every bit of both over 32 bits (the finaliser of MurmurHash3). */
function mix (hash: number, value: number): number {
  let h = (hash ^ value) + 0x9e3779b9 | 0
  h = Math.imul(h ^ h >>> 16, 0x85ebca6b)
  h = Math.imul(h ^ h >>> 13, 0xc2b2ae35)
  return h ^ h >>> 16
}

function outOfRange (message: string): ModelError {
  return new ModelError('out-of-range', message)
}

/** The lowest id of the largest logit. */
export function argmax (logits: Float32Array): number {
  let best = 0
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i
  return best
}

/** The `k` ids of the largest logits, most likely first; ties by id. One pass with a heap of k, so a large vocabulary costs little. */
export function mostLikely (logits: Float32Array, k: number): Uint32Array {
  const before = (a: number, b: number): boolean => logits[a] > logits[b] || (logits[a] === logits[b] && a < b)
  if (k >= logits.length) return Uint32Array.from(logits.keys()).sort((a, b) => before(a, b) ? -1 : 1)
  const heap = new Uint32Array(k) // the root is the least likely of those kept
  const sink = (from: number): void => {
    for (let at = from; ;) {
      let least = at
      for (const child of [2 * at + 1, 2 * at + 2]) if (child < k && before(heap[least], heap[child])) least = child
      if (least === at) return
      ;[heap[at], heap[least]] = [heap[least], heap[at]]
      at = least
    }
  }
  for (let i = 0; i < k; i++) heap[i] = i
  for (let i = k >> 1; i >= 0; i--) sink(i)
  let least = logits[heap[0]]
  for (let id = k; id < logits.length; id++) {
    if (logits[id] > least) { // of equals the lower id stays
      heap[0] = id
      sink(0)
      least = logits[heap[0]]
    }
  }
  return heap.sort((a, b) => before(a, b) ? -1 : 1)
}
