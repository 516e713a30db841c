import type { ExpertBatch } from '../../swarm/index.js'

/** A batch turned round: by expert, ascending. Expert i owns the next `counts[i]` entries of `rows` and `weights`. */
export interface ExpertGroups {
  experts: Uint16Array
  counts: Uint16Array
  /** Token of each assignment, ascending within an expert. */
  rows: Uint16Array
  weights: Float32Array
}

/** Groups a batch's assignments by expert and deals the experts to `shares` workers by expert modulo shares. */
export function groupByExpert ({ counts, experts, weights }: ExpertBatch, shares: number): Array<ExpertGroups | undefined> {
  const rowsOf: Uint16Array = new Uint16Array(experts.length)
  for (let token = 0, at = 0; token < counts.length; token++) {
    for (let k = 0; k < counts[token]; k++) rowsOf[at++] = token
  }
  const order = Array.from(experts.keys()).sort((a, b) => experts[a] - experts[b] || a - b)
  const dealt: number[][] = Array.from({ length: shares }, () => [])
  for (const at of order) dealt[experts[at] % shares].push(at)
  return dealt.map(share => share.length === 0 ? undefined : groups(share, experts, rowsOf, weights))
}

function groups (order: number[], experts: Uint16Array, rowsOf: Uint16Array, weights: Float32Array): ExpertGroups {
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
    rows: Uint16Array.from(order, at => rowsOf[at]),
    weights: Float32Array.from(order, at => weights[at])
  }
}
