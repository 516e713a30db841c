/** A peer that could compute some of a layer's experts. */
export interface PlanCandidate {
  peerId: string
  /** Milliseconds until its reply, for a request of this size. */
  expectedMs: number
  /** What it is compared by: less than expected where a change of peer would have to be worth it. @default expectedMs */
  rankMs?: number
  /** [experts of the layer], 1 where the peer holds it. */
  holds: Uint8Array
}

/** Why a peer is in a plan or not. */
export type PlanReason =
  /** It holds all that is needed, and nobody faster does. */
  | 'whole'
  /** It covers a share of what is needed. */
  | 'share'
  /** Nothing that is needed is there. */
  | 'holds-none'
  /** All is covered sooner without it. */
  | 'slower'
  /** Fast enough, but fewer peers cover all without it. */
  | 'spare'

export interface LayerPlan {
  /** Fastest first. Each needed expert that anybody holds is with exactly one. */
  shares: Array<{ peerId: string, expectedMs: number, experts: number[] }>
  /** Needed experts that no candidate holds. */
  missing: number[]
  /** The smallest possible time until the last share is back; 0 when nothing is covered. */
  thresholdMs: number
  reasons: Array<{ peerId: string, expectedMs: number, reason: PlanReason }>
}

/**
 * Who computes which experts. The largest expected time among the peers is the smallest possible: sorted by expected time, peers
 * are added until all is covered, and the last one sets the threshold. Within it as few peers as possible, one with the whole need before many with
 * parts. Pure: `random` (in [0, 1)) only orders candidates of equal time, so that clients spread over equal peers.
 */
export function planLayer (needed: ArrayLike<number>, candidates: readonly PlanCandidate[], random: () => number): LayerPlan {
  const order = sortedByTime(candidates, random)
  const { open, threshold } = coveringPrefix(needed, order)
  const plan: LayerPlan = { shares: [], missing: open, thresholdMs: threshold < 0 ? 0 : rankOf(order[threshold]), reasons: [] }

  const within = order.slice(0, withinThreshold(order, plan.thresholdMs, threshold))
  const rest = new Set<number>()
  for (let i = 0; i < needed.length; i++) rest.add(needed[i])
  for (const expert of open) rest.delete(expert)
  const wanted = rest.size
  const chosen = new Set<PlanCandidate>()
  while (rest.size > 0) {
    const best = largestShare(rest, within)
    const experts = [...rest].filter(expert => best.holds[expert] === 1)
    for (const expert of experts) rest.delete(expert)
    chosen.add(best)
    plan.shares.push({ peerId: best.peerId, expectedMs: best.expectedMs, experts: experts.sort((a, b) => a - b) })
  }
  plan.shares.sort((a, b) => a.expectedMs - b.expectedMs)
  for (const [at, candidate] of order.entries()) {
    const reason = chosen.has(candidate)
      ? (plan.shares.length === 1 && wanted > 0 ? 'whole' : 'share')
      : holdsAny(candidate, needed) ? (at < within.length ? 'spare' : 'slower') : 'holds-none'
    plan.reasons.push({ peerId: candidate.peerId, expectedMs: candidate.expectedMs, reason })
  }
  return plan
}

function rankOf ({ rankMs, expectedMs }: PlanCandidate): number {
  return rankMs ?? expectedMs
}

function sortedByTime (candidates: readonly PlanCandidate[], random: () => number): PlanCandidate[] {
  if (candidates.length < 2) return [...candidates]
  return candidates
    .map(candidate => ({ candidate, tie: random() }))
    .sort((a, b) => rankOf(a.candidate) - rankOf(b.candidate) || a.tie - b.tie)
    .map(({ candidate }) => candidate)
}

/** The experts that nobody holds, and the place of the last peer that is needed to cover the others; -1 when none is. */
function coveringPrefix (needed: ArrayLike<number>, order: readonly PlanCandidate[]): { open: number[], threshold: number } {
  const open = new Set<number>()
  for (let i = 0; i < needed.length; i++) open.add(needed[i])
  let threshold = -1
  for (let at = 0; at < order.length && open.size > 0; at++) {
    const { holds } = order[at]
    for (const expert of open) {
      if (holds[expert] === 1) {
        open.delete(expert)
        threshold = at
      }
    }
  }
  return { open: [...open].sort((a, b) => a - b), threshold }
}

/** How many of the sorted candidates are not slower than the threshold. */
function withinThreshold (order: readonly PlanCandidate[], thresholdMs: number, threshold: number): number {
  let count = threshold + 1
  while (threshold >= 0 && count < order.length && rankOf(order[count]) <= thresholdMs) count++
  return count
}

/** The fastest of those that cover most of what is left: greedy set cover, at worst ln(n) times the fewest peers. */
function largestShare (rest: ReadonlySet<number>, within: readonly PlanCandidate[]): PlanCandidate {
  let best = within[0]
  let most = -1
  for (const candidate of within) {
    let covers = 0
    for (const expert of rest) covers += candidate.holds[expert]
    if (covers > most) {
      most = covers
      best = candidate
    }
  }
  return best
}

function holdsAny ({ holds }: PlanCandidate, needed: ArrayLike<number>): boolean {
  for (let i = 0; i < needed.length; i++) {
    if (holds[needed[i]] === 1) return true
  }
  return false
}
