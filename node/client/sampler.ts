import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
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

/** Picks the next token from logits [vocabulary]: temperature, then top-k, then top-p, as transformers orders them. */
export class Sampler {
  private readonly random: ReturnType<typeof xoroshiro128plus>

  /** @throws ModelError 'out-of-range' naming the option */
  constructor (private readonly options: SamplingOptions) {
    const { temperature, topK, topP, seed } = options
    if (!(temperature >= 0 && Number.isFinite(temperature))) throw outOfRange(`The temperature is a number from 0 on, not ${temperature}.`)
    if (!Number.isInteger(topK) || topK < 0) throw outOfRange(`top-k is a whole number from 0 (all) on, not ${topK}.`)
    if (!(topP > 0 && topP <= 1)) throw outOfRange(`top-p is a number above 0 and at most 1, not ${topP}.`)
    if (!Number.isSafeInteger(seed)) throw outOfRange(`The seed is a whole number, not ${seed}.`)
    this.random = xoroshiro128plus(seed)
  }

  sample (logits: Float32Array): number {
    const { temperature, topK, topP } = this.options
    if (temperature === 0) return argmax(logits)
    const ids = mostLikely(logits, topK === 0 ? logits.length : Math.min(topK, logits.length))
    const best = logits[ids[0]]
    const odds = Float64Array.from(ids, id => Math.exp((logits[id] - best) / temperature))
    const all = odds.reduce((a, b) => a + b, 0)
    let kept = 0
    let mass = 0
    while (kept < ids.length && (kept === 0 || mass < topP * all)) mass += odds[kept++]
    let left = uniformFloat64(this.random) * mass
    for (let i = 0; i < kept; i++) {
      left -= odds[i]
      if (left < 0) return ids[i]
    }
    return ids[kept - 1] // rounding left a crumb
  }
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
  for (let id = k; id < logits.length; id++) {
    if (before(id, heap[0])) {
      heap[0] = id
      sink(0)
    }
  }
  return heap.sort((a, b) => before(a, b) ? -1 : 1)
}
