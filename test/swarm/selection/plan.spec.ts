import assert from 'node:assert/strict'
import { planLayer, type PlanReason } from '../../../swarm/selection/plan.js'
import { seeded } from '../../../scripts/seeded.js'

interface Row {
  id: string
  needed: number[]
  /** Peer: expected time, experts that it holds. */
  candidates: Record<string, [number, number[]]>
  shares: Record<string, number[]>
  missing?: number[]
  thresholdMs: number
  reasons?: Record<string, PlanReason>
}

const TABLE: Row[] = [
  { id: 'nobody', needed: [1, 2], candidates: {}, shares: {}, missing: [1, 2], thresholdMs: 0 },
  { id: 'nothing needed', needed: [], candidates: { a: [1, [0]] }, shares: {}, thresholdMs: 0 },
  { id: 'one peer with all', needed: [0, 3], candidates: { a: [5, [0, 1, 2, 3]] }, shares: { a: [0, 3] }, thresholdMs: 5, reasons: { a: 'whole' } },
  { id: 'the faster of two whole peers', needed: [0], candidates: { a: [5, [0]], b: [3, [0]] }, shares: { b: [0] }, thresholdMs: 3, reasons: { a: 'slower', b: 'whole' } },
  { id: 'parts, when they are sooner than one slow whole peer', needed: [0, 1], candidates: { whole: [50, [0, 1]], a: [5, [0]], b: [6, [1]] }, shares: { a: [0], b: [1] }, thresholdMs: 6, reasons: { whole: 'slower', a: 'share', b: 'share' } },
  { id: 'one whole peer at the threshold instead of faster parts', needed: [0, 1, 2], candidates: { a: [1, [0]], b: [2, [1]], whole: [9, [0, 1, 2]] }, shares: { whole: [0, 1, 2] }, thresholdMs: 9, reasons: { a: 'spare', b: 'spare', whole: 'whole' } },
  { id: 'as few peers as possible within the threshold', needed: [0, 1, 2, 3], candidates: { a: [1, [0]], b: [2, [1, 2]], c: [3, [0, 1, 2]], d: [4, [3]] }, shares: { c: [0, 1, 2], d: [3] }, thresholdMs: 4 },
  { id: 'a peer of equal time with the whole need', needed: [0, 1], candidates: { a: [5, [0]], b: [5, [1]], c: [5, [0, 1]] }, shares: { c: [0, 1] }, thresholdMs: 5 },
  { id: 'what nobody holds is missing, the rest is planned', needed: [0, 6, 7], candidates: { a: [5, [0, 1]], b: [1, [3]] }, shares: { a: [0] }, missing: [6, 7], thresholdMs: 5, reasons: { a: 'whole', b: 'holds-none' } },
  { id: 'repeated experts count once', needed: [1, 1, 1], candidates: { a: [2, [1]] }, shares: { a: [1] }, thresholdMs: 2 }
]

function holding (experts: number[]): Uint8Array {
  const holds = new Uint8Array(8)
  for (const expert of experts) holds[expert] = 1
  return holds
}

describe('the plan of a layer', () => {
  for (const { id, needed, candidates, shares, missing = [], thresholdMs, reasons } of TABLE) {
    it(id, () => {
      const plan = planLayer(needed, Object.entries(candidates).map(([peerId, [expectedMs, experts]]) => ({ peerId, expectedMs, holds: holding(experts) })), seeded(1))
      assert.deepEqual(Object.fromEntries(plan.shares.map(share => [share.peerId, share.experts])), shares)
      assert.deepEqual(plan.missing, missing)
      assert.equal(plan.thresholdMs, thresholdMs)
      if (reasons != null) assert.deepEqual(Object.fromEntries(plan.reasons.map(({ peerId, reason }) => [peerId, reason])), reasons)
    })
  }

  it('has the smallest possible largest time, against all subsets', () => {
    const random = seeded(7)
    for (let round = 0; round < 200; round++) {
      const candidates = Array.from({ length: 1 + Math.floor(random() * 6) }, (_, at) => ({
        peerId: `p${at}`, expectedMs: Math.floor(random() * 20), holds: Uint8Array.from({ length: 8 }, () => random() < 0.4 ? 1 : 0)
      }))
      const needed = [0, 1, 2, 3, 4, 5, 6, 7].filter(() => random() < 0.6)
      const plan = planLayer(needed, candidates, random)
      const held = needed.filter(expert => candidates.some(({ holds }) => holds[expert] === 1))
      assert.deepEqual(plan.shares.flatMap(({ experts }) => experts).sort((a, b) => a - b), held)
      assert.deepEqual([...held, ...plan.missing].sort((a, b) => a - b), needed)
      let best = held.length === 0 ? 0 : Infinity
      for (let subset = 1; subset < 2 ** candidates.length; subset++) {
        const chosen = candidates.filter((_, at) => (subset & (1 << at)) !== 0)
        if (held.every(expert => chosen.some(({ holds }) => holds[expert] === 1))) best = Math.min(best, Math.max(...chosen.map(({ expectedMs }) => expectedMs)))
      }
      assert.ok(Math.max(0, ...plan.shares.map(({ expectedMs }) => expectedMs)) <= best, `round ${round}`)
      if (held.length > 0) assert.equal(plan.thresholdMs, best)
    }
  })

  it('spreads clients over equal peers', () => {
    const random = seeded(3)
    const equal = ['a', 'b', 'c'].map(peerId => ({ peerId, expectedMs: 4, holds: holding([0]) }))
    const first = new Set(Array.from({ length: 50 }, () => planLayer([0], equal, random).shares[0].peerId))
    assert.deepEqual([...first].sort(), ['a', 'b', 'c'])
  })
})
