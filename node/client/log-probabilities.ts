import { ModelError } from '../../model-tools/index.js'
import { mostLikely } from './sampler.js'

export interface TokenLogProbability {
  id: number
  /** Natural logarithm of the softmax over the whole vocabulary, before temperature, top-k and top-p. */
  logProbability: number
}

/** The token of a step and the most likely ones in its place, most likely first. */
export interface StepLogProbabilities extends TokenLogProbability {
  top: TokenLogProbability[]
}

/** Alternatives that can be asked for at most, as in OpenAI's API. */
export const MAX_TOP_LOG_PROBABILITIES = 20

/** Of `id` and the `top` most likely tokens, from logits [vocabulary]. @throws ModelError 'out-of-range' */
export function logProbabilities (logits: Float32Array, id: number, top: number): StepLogProbabilities {
  if (!Number.isInteger(top) || top < 0 || top > MAX_TOP_LOG_PROBABILITIES) {
    throw new ModelError('out-of-range', `Log-probabilities of 0 to ${MAX_TOP_LOG_PROBABILITIES} alternatives can be had, not of ${top}.`)
  }
  let most = -Infinity
  for (const logit of logits) most = Math.max(most, logit)
  let sum = 0
  for (const logit of logits) sum += Math.exp(logit - most)
  const logSum = most + Math.log(sum)
  const of = (token: number): TokenLogProbability => ({ id: token, logProbability: logits[token] - logSum })
  return { ...of(id), top: top === 0 ? [] : Array.from(mostLikely(logits, top), of) }
}
