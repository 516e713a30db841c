import assert from 'node:assert/strict'
import { HedgeBudget } from '../../../swarm/selection/hedge-budget.js'
import { Incumbents } from '../../../swarm/selection/incumbents.js'
import { LatencyEstimate } from '../../../swarm/selection/latency.js'
import { planLayer } from '../../../swarm/selection/plan.js'
import { wireOf } from '../../../swarm/selection/wire.js'
import { seeded } from '../../../scripts/seeded.js'

describe('incumbents', () => {
  const all = Uint8Array.of(1, 1)
  /** Who serves layer 0 in each round, by expected times. */
  const chosen = (rounds: Array<Record<string, number>>): string[] => {
    const incumbents = new Incumbents()
    return rounds.map(times => {
      const candidates = Object.entries(times).map(([peerId, expectedMs]) => ({ peerId, expectedMs, rankMs: incumbents.rankMs(0, peerId, expectedMs), holds: all }))
      const { shares } = planLayer([0, 1], candidates, () => 0)
      incumbents.served(0, shares.map(({ peerId }) => peerId))
      return shares[0].peerId
    })
  }

  it('keep a layer while others are about as fast, and give it up to a clearly faster one', () => {
    assert.deepEqual(chosen([{ a: 20, b: 21 }, { a: 20.5, b: 19.5 }, { a: 21, b: 20 }, { a: 24, b: 20 }, { a: 21, b: 20 }]), ['a', 'a', 'a', 'b', 'b'])
  })

  it('do not take turns with a near-equal peer whose times scatter', () => {
    const random = seeded(5)
    const peers = chosen(Array.from({ length: 500 }, () => ({ a: 20 + random(), b: 20 + random() })))
    assert.equal(new Set(peers).size, 1)
  })

  it('are given up at once when they are gone', () => {
    assert.deepEqual(chosen([{ a: 20, b: 30 }, { b: 30 }, { a: 29, b: 30 }, { a: 20, b: 30 }]), ['a', 'b', 'b', 'a'])
  })

  it('of one layer say nothing of another', () => {
    const incumbents = new Incumbents()
    incumbents.served(0, ['a'])
    assert.equal(incumbents.rankMs(1, 'a', 20), 20)
    assert.ok(incumbents.rankMs(0, 'a', 20) < 20)
    assert.equal(incumbents.rankMs(0, 'a', 0.1), 0)
  })
})

describe('hedge budget', () => {
  it('allows a burst, and then its share of the requests', () => {
    const budget = new HedgeBudget(0.05, 3)
    assert.deepEqual(Array.from({ length: 5 }, () => budget.spend()), [true, true, true, false, false])
    let extra = 0
    for (let i = 0; i < 1_000; i++) {
      budget.earn()
      if (budget.spend()) extra++
    }
    assert.ok(extra >= 49 && extra <= 50, String(extra))
  })

  it('leaves what is reserved to others', () => {
    const budget = new HedgeBudget(0.1, 3)
    assert.equal(budget.spend(2), true)
    assert.equal(budget.spend(2), false)
    assert.equal(budget.spend(), true)
  })

  it('allows nothing when it is off', () => { assert.equal(new HedgeBudget(0, 3).spend(), false) })
})

describe('the form on the wire', () => {
  const bytesIn = (dtype: string): number => ({ fp32: 800_000, fp16: 400_000, int8: 200_000 })[dtype] ?? 0
  const link = (mbit: number): LatencyEstimate => {
    const latency = new LatencyEstimate(() => 0)
    for (let i = 0; i < 100; i++) latency.addServed({ networkMs: 20 + (i % 2 === 0 ? 0 : 400_000 * 8 / 1_000 / mbit), queueMs: 0, serviceMs: 30, assignments: 64, bytes: i % 2 === 0 ? 100 : 400_000 })
    return latency
  }
  for (const { id, choice, mbit, taken = ['fp32', 'fp16', 'int8'] as const, expected } of [
    { id: 'int8 over a slow link', choice: 'auto', mbit: 10, expected: 'int8' },
    { id: 'fp16 over a fast link', choice: 'auto', mbit: 1_000, expected: 'fp16' },
    { id: 'fp16 when the peer takes no int8', choice: 'auto', mbit: 10, taken: ['fp16'] as const, expected: 'fp16' },
    { id: 'what was asked for', choice: 'fp32', mbit: 10, expected: 'fp32' }
  ] as const) {
    it(`is ${id}`, () => { assert.equal(wireOf(choice, taken, link(mbit), { assignments: 64 }, bytesIn), expected) })
  }
})
