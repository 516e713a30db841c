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
    assert.equal(estimate.expectedMs(8), limits.UNKNOWN_RTT_MS + 8 * limits.UNKNOWN_SERVICE_MS)
    assert.equal(estimate.deadlineMs(8), limits.DEADLINE_UNKNOWN_MS)
  })

  it('adds round trip, queue and service', () => {
    served(10, 4, 8, 16)
    assert.equal(estimate.expectedMs(8), 10 + 16 / 8 + 4)
  })

  it('counts our own requests that wait there', () => {
    served(10, 4)
    assert.equal(estimate.expectedMs(8, 2), 10 + 3 * 4)
  })

  it('keeps service times of small and large batches apart', () => {
    served(10, 2, 8)
    served(10, 64, 1_024)
    assert.equal(estimate.expectedMs(8), 12)
    assert.equal(estimate.expectedMs(1_024), 74)
    assert.equal(estimate.expectedMs(16), 14, 'scaled up from the nearest smaller size')
  })

  it('expects more of a peer that failed, the more the more often, and forgives with time', () => {
    served(10, 2)
    const before = estimate.expectedMs(8)
    estimate.addFailure()
    const once = estimate.expectedMs(8) - before
    assert.equal(once, limits.FAILURE_PENALTY_MS)
    estimate.addFailure()
    assert.equal(estimate.expectedMs(8) - before, 3 * limits.FAILURE_PENALTY_MS)
    now += limits.FAILURE_HALF_LIFE_MS
    assert.equal(estimate.expectedMs(8) - before, 1.5 * limits.FAILURE_PENALTY_MS)
    for (let i = 0; i < 20; i++) estimate.addFailure()
    assert.equal(estimate.expectedMs(8) - before, limits.FAILURE_PENALTY_MAX_MS)
  })

  for (const { id, serviceMs, expected } of [
    { id: 'fast', serviceMs: 1, expected: limits.DEADLINE_MIN_MS },
    { id: 'slow', serviceMs: 1_000, expected: 1_000 * limits.DEADLINE_FACTOR },
    { id: 'endless', serviceMs: 1e6, expected: limits.DEADLINE_MAX_MS }
  ]) {
    it(`gives a ${id} peer a deadline within the bounds`, () => {
      served(0, serviceMs)
      assert.equal(estimate.deadlineMs(8), expected)
    })
  }
})
