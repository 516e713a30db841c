import assert from 'node:assert/strict'
import * as limits from '../../../swarm/constants.js'
import { LatencyEstimate } from '../../../swarm/selection/latency.js'

describe('latency estimate', () => {
  let now = 0
  let estimate: LatencyEstimate
  const served = (networkMs: number, serviceMs: number, assignments = 8, queueMs = 0): void => { estimate.addServed({ networkMs, queueMs, serviceMs, assignments }) }

  beforeEach(() => {
    now = 1_000
    estimate = new LatencyEstimate(() => now)
  })

  it('smooths round trips as RFC 6298 does', () => {
    estimate.addRoundTrip(100)
    assert.deepEqual([estimate.roundTripMs, estimate.deviationMs], [100, 50])
    estimate.addRoundTrip(180)
    assert.deepEqual([estimate.roundTripMs, estimate.deviationMs], [110, 57.5])
  })

  it('expects a peer that was never measured to be near and to need its time', () => {
    assert.equal(estimate.expectedMs({ assignments: 8 }), limits.UNKNOWN_RTT_MS + 8 * limits.UNKNOWN_SERVICE_MS)
    assert.equal(estimate.deadlineMs({ assignments: 8 }), limits.DEADLINE_UNKNOWN_MS)
  })

  it('adds round trip, queue and service', () => {
    served(10, 4, 8, 16)
    assert.equal(estimate.expectedMs({ assignments: 8 }), 10 + 16 / 8 + 4)
  })

  it('counts our own requests that wait there', () => {
    served(10, 4)
    assert.equal(estimate.expectedMs({ assignments: 8, ahead: 2 }), 10 + 3 * 4)
  })

  it('keeps service times of small and large batches apart', () => {
    served(10, 2, 8)
    served(10, 64, 1_024)
    assert.equal(estimate.expectedMs({ assignments: 8 }), 12)
    assert.equal(estimate.expectedMs({ assignments: 1_024 }), 74)
    assert.equal(estimate.expectedMs({ assignments: 16 }), 14, 'scaled up from the nearest smaller size')
  })

  it('expects more of a peer that failed, the more the more often, and forgives with time', () => {
    served(10, 2)
    const before = estimate.expectedMs({ assignments: 8 })
    estimate.addFailure()
    const once = estimate.expectedMs({ assignments: 8 }) - before
    assert.equal(once, limits.FAILURE_PENALTY_MS)
    estimate.addFailure()
    assert.equal(estimate.expectedMs({ assignments: 8 }) - before, 3 * limits.FAILURE_PENALTY_MS)
    now += limits.FAILURE_HALF_LIFE_MS
    assert.equal(estimate.expectedMs({ assignments: 8 }) - before, 1.5 * limits.FAILURE_PENALTY_MS)
    for (let i = 0; i < 20; i++) estimate.addFailure()
    assert.equal(estimate.expectedMs({ assignments: 8 }) - before, limits.FAILURE_PENALTY_MAX_MS)
  })

  for (const { id, serviceMs, expected } of [
    { id: 'fast', serviceMs: 1, expected: limits.DEADLINE_MIN_MS },
    { id: 'slow', serviceMs: 1_000, expected: 1_000 * limits.DEADLINE_FACTOR },
    { id: 'endless', serviceMs: 1e6, expected: limits.DEADLINE_MAX_MS }
  ]) {
    it(`gives a ${id} peer a deadline within the bounds`, () => {
      served(0, serviceMs)
      assert.equal(estimate.deadlineMs({ assignments: 8 }), expected)
    })
  }

  it('asks for a hedge well after the usual time, and not of a peer that it does not know', () => {
    assert.equal(estimate.tailMs({ assignments: 8 }), Infinity)
    for (let i = 0; i < 100; i++) served(20, 4)
    const steady = estimate.tailMs({ assignments: 8 })
    assert.ok(steady >= 24 + limits.HEDGE_MIN_LATE_MS && steady < 40, String(steady))
    served(200, 4)
    assert.ok(estimate.tailMs({ assignments: 8 }) < 24 + 200 * limits.SRTT_GAIN + 40, 'one stall hardly moves it')
    for (let i = 0; i < 200; i++) served(i % 2 === 0 ? 10 : 50, 4)
    assert.ok(estimate.tailMs({ assignments: 8 }) > 60, 'a link that is never the same gets time')
  })

  it('takes what an overtaken request lacks for time in the queue, and forgets it after a good reply that comes late', () => {
    for (let i = 0; i < 50; i++) served(20, 1)
    const before = estimate.expectedMs({ assignments: 8 })
    estimate.addLate(221, { assignments: 8 })
    assert.ok(Math.abs(estimate.expectedMs({ assignments: 8 }) - before - 200 * limits.LATE_GAIN) < 1)
    assert.ok(Math.abs(estimate.roundTripMs - 20) < 1e-9, 'the network is not blamed')
    estimate.addLate(5, { assignments: 8 })
    assert.ok(estimate.expectedMs({ assignments: 8 }) > before + 99, 'a request that was cancelled early says nothing')
    now += 3 * limits.ESTIMATE_HALF_LIFE_MS
    served(20, 1)
    assert.ok(estimate.expectedMs({ assignments: 8 }) - before < 200 * limits.LATE_GAIN / 8 + 1)
  })

  it('tells bandwidth from round trip by the size of frames', () => {
    const msPerByte = 8 / 10_000 // 10 Mbit/s
    for (let i = 0; i < 400; i++) {
      const bytes = i % 4 === 0 ? 300_000 : 2_000
      estimate.addServed({ networkMs: 30 + (bytes > 8_192 ? bytes * msPerByte : 0), queueMs: 0, serviceMs: 1, assignments: 8, bytes })
    }
    assert.ok(Math.abs(estimate.mbitPerSecond - 10) < 1, String(estimate.mbitPerSecond))
    assert.ok(Math.abs(estimate.roundTripMs - 30) < 3, String(estimate.roundTripMs))
    assert.ok(Math.abs(estimate.expectedMs({ assignments: 8, bytes: 150_000 }) - 151) < 8)
  })

  it('hears of a peer again by a reply or when it is asked', () => {
    now += 500
    assert.equal(estimate.ageMs, 500)
    estimate.asked()
    assert.equal(estimate.ageMs, 0)
    now += 70
    served(1, 1)
    now += 30
    assert.equal(estimate.ageMs, 30)
  })
})
