import type { ExpertBatch } from '../../swarm/index.js'

/** A batch turned round: by expert, ascending. Expert i owns the next `counts[i]` entries of `rows` and `weights`. */
export interface ExpertGroups {
  experts: Uint16Array
  counts: Uint16Array
  /** Token of each assignment, ascending within an expert. */
  rows: Uint16Array
  weights: Float32Array
}

/** More than a batch has assignments. */
const PLACES = 2 ** 32

export function byExpert ({ counts: ofTokens, experts, weights }: ExpertBatch): ExpertGroups {
  const tokens = new Uint16Array(experts.length)
  for (let token = 0, at = 0; token < ofTokens.length; token++) {
    for (const end = at + ofTokens[token]; at < end;) tokens[at++] = token
  }
  // Sorted as numbers, expert first.
  const order = Float64Array.from(experts, (expert, at) => expert * PLACES + at).sort()
  const groups: ExpertGroups = {
    experts: new Uint16Array(order.length), counts: new Uint16Array(order.length), rows: new Uint16Array(order.length), weights: new Float32Array(order.length)
  }
  let group = -1
  for (let i = 0; i < order.length; i++) {
    const at = order[i] % PLACES
    if (group < 0 || groups.experts[group] !== experts[at]) groups.experts[++group] = experts[at]
    groups.counts[group]++
    groups.rows[i] = tokens[at]
    groups.weights[i] = weights[at]
  }
  return { ...groups, experts: groups.experts.subarray(0, group + 1), counts: groups.counts.subarray(0, group + 1) }
}
