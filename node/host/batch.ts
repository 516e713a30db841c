import type { ExpertBatch } from '../../swarm/index.js'

/** A batch turned round: by expert, ascending. Expert i owns the next `counts[i]` entries of `rows` and `weights`. */
export interface ExpertGroups {
  experts: Uint16Array
  counts: Uint16Array
  /** Token of each assignment, ascending within an expert. */
  rows: Uint16Array
  weights: Float32Array
}

export function byExpert ({ counts: ofTokens, experts, weights }: ExpertBatch): ExpertGroups {
  const tokens = new Uint16Array(experts.length)
  for (let token = 0, at = 0; token < ofTokens.length; token++) {
    for (const end = at + ofTokens[token]; at < end;) tokens[at++] = token
  }
  const order = Array.from(experts.keys()).sort((a, b) => experts[a] - experts[b] || a - b)
  const ids: number[] = []
  const counts: number[] = []
  for (const at of order) {
    if (ids.at(-1) !== experts[at]) {
      ids.push(experts[at])
      counts.push(0)
    }
    counts[counts.length - 1]++
  }
  return {
    experts: Uint16Array.from(ids),
    counts: Uint16Array.from(counts),
    rows: Uint16Array.from(order, at => tokens[at]),
    weights: Float32Array.from(order, at => weights[at])
  }
}
