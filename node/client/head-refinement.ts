import type { ModelConfig } from '../../model-tools/index.js'
import type { Embedding } from './embedding.js'

/** Logits of a row that are computed again: many more than the tokens that sampling ever weighs against each other. */
export const REFINED_LOGITS = 32

/**
 * Finishes logits that a head of 4 bits has made: the largest of each row are computed again from the embedding's own rows, in full precision. What is
 * greedily chosen or sampled then hardly depends on the head's bits, for a few rows read instead of a second matrix.
 */
export class HeadRefinement {
  /** The largest logits of the row in hand, largest first, and their tokens. */
  private readonly best = new Float32Array(REFINED_LOGITS)
  private readonly ids = new Uint32Array(REFINED_LOGITS)
  private readonly weights: Float32Array<ArrayBuffer>

  constructor (private readonly config: Pick<ModelConfig, 'vocabSize' | 'hiddenSize' | 'logitSoftcap'>, private readonly embedding: Pick<Embedding, 'read'>) {
    this.weights = new Float32Array(config.hiddenSize)
  }

  /** Overwrites the largest of `logits` [rows, vocabulary]. `states` [rows, H] is what the head has read. */
  refine ({ logits, states }: { logits: Float32Array, states: Float32Array }): void {
    const { vocabSize, hiddenSize, logitSoftcap: cap } = this.config
    for (let row = 0; row * hiddenSize < states.length; row++) {
      const found = this.select(logits, row * vocabSize)
      for (let i = 0; i < found; i++) {
        this.embedding.read(this.ids[i], this.weights)
        const logit = this.product(states, row * hiddenSize)
        logits[row * vocabSize + this.ids[i]] = cap > 0 ? cap * Math.tanh(logit / cap) : logit
      }
    }
  }

  /** Fills `best` and `ids` from the row at `start`, of equals the lower ids; returns how many there are. One pass: few logits get past the threshold. */
  private select (logits: Float32Array, start: number): number {
    const { best, ids } = this
    const end = start + this.config.vocabSize
    let found = 0
    let threshold = -Infinity
    for (let at = start; at < end; at++) {
      const logit = logits[at]
      if (!(logit > threshold)) continue
      let place = found < REFINED_LOGITS ? found++ : REFINED_LOGITS - 1
      for (; place > 0 && best[place - 1] < logit; place--) {
        best[place] = best[place - 1]
        ids[place] = ids[place - 1]
      }
      best[place] = logit
      ids[place] = at - start
      if (found === REFINED_LOGITS) threshold = best[REFINED_LOGITS - 1]
    }
    return found
  }

  /** Of `weights` and the state at `start`, in float64. */
  private product (states: Float32Array, start: number): number {
    const { weights } = this
    let even = 0
    let odd = 0
    for (let i = 0; i < weights.length; i += 2) {
      even += weights[i] * states[start + i]
      odd += weights[i + 1] * states[start + i + 1]
    }
    return even + odd
  }
}
