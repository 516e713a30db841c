import type { ModelConfig } from '../../model-tools/index.js'
import type { Embedding } from './embedding.js'
import { mostLikely } from './sampler.js'

/** Logits of a row that are computed again; tokens further down are rarely chosen, and their chances keep the error of 4 bits. */
export const REFINED_LOGITS = 32

/**
 * Finishes logits that a head of 4 bits has made: the largest of each row are computed again from the embedding's own rows, in full precision. What is
 * greedily chosen or sampled then hardly depends on the head's bits, for a few rows read instead of a second matrix.
 */
export class HeadRefinement {
  private readonly weights: Float32Array<ArrayBuffer>

  constructor (private readonly config: Pick<ModelConfig, 'vocabSize' | 'hiddenSize' | 'logitSoftcap'>, private readonly embedding: Pick<Embedding, 'read'>) {
    this.weights = new Float32Array(config.hiddenSize)
  }

  /** Overwrites the largest of `logits` [rows, vocabulary]. `states` [rows, H] is what the head has read. */
  refine ({ logits, states }: { logits: Float32Array, states: Float32Array }): void {
    const { vocabSize, hiddenSize, logitSoftcap: cap } = this.config
    for (let row = 0; row * hiddenSize < states.length; row++) {
      const own = logits.subarray(row * vocabSize, (row + 1) * vocabSize)
      for (const id of mostLikely(own, REFINED_LOGITS)) {
        this.embedding.read(id, this.weights)
        const logit = this.product(states, row * hiddenSize)
        own[id] = cap > 0 ? cap * Math.tanh(logit / cap) : logit
      }
    }
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
