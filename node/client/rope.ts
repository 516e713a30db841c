import type { AttentionConfig } from '../../model-tools/index.js'

/**
 * Rotary frequencies of the headDim / 2 pairs, fp32 as in the reference: f_i = 1 / theta^(2i / headDim) for the rotated
 * share, 0 for the rest, which leaves those elements as they are ("proportional", gemma4-spec, section 4). "Linear" scaling divides them all.
 */
export function ropeFrequencies ({ headDim, ropeTheta, rotaryFactor, ropeDivisor = 1 }: AttentionConfig): Float32Array {
  const rotated = Math.floor(rotaryFactor * headDim / 2)
  return Float32Array.from({ length: headDim / 2 }, (_, i) =>
    i < rotated ? Math.fround(1 / Math.fround(ropeTheta ** Math.fround(2 * i / headDim))) / ropeDivisor : 0)
}

/** cos and sin [tokens, pairs] of the angles position * frequency of positions. */
export function ropeAngles (frequencies: Float32Array, positions: ArrayLike<number>): { cos: Float32Array, sin: Float32Array } {
  const [pairs, tokens] = [frequencies.length, positions.length]
  const cos = new Float32Array(tokens * pairs)
  const sin = new Float32Array(tokens * pairs)
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < pairs; i++) {
      const angle = Math.fround(positions[t] * frequencies[i])
      cos[t * pairs + i] = Math.cos(angle)
      sin[t * pairs + i] = Math.sin(angle)
    }
  }
  return { cos, sin }
}
