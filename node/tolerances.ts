import type { WeightFormat } from '../model-tools/index.js'
import type { Tolerances } from '../swarm/index.js'

/** A tolerance is so many times the largest difference that was measured between honest replies, and rounded up. */
export const TOLERANCE_MARGIN = 4

/** `npm run deviation` measures the differences that these are for. */
const TOLERANCES: Record<WeightFormat, Tolerances> = {
  f32: { fp32: 1e-5, fp16: 2e-3, int8: 0.07 },
  f16: { fp32: 1e-5, fp16: 2e-3, int8: 0.07 },
  q8: { fp32: 0.06, fp16: 0.06, int8: 0.09 },
  q4: { fp32: 0.07, fp16: 0.07, int8: 0.09 },
  u4: { fp32: 0.07, fp16: 0.07, int8: 0.1 }
}

/** How far the replies of honest peers of a bundle in these weights may be apart. */
export function tolerancesOf (format: WeightFormat): Tolerances {
  return TOLERANCES[format]
}
