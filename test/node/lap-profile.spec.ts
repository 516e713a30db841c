import assert from 'node:assert/strict'
import { LapProfile } from '../../node/client/lap-profile.js'

const NO_TIMING = { encodeMs: 0, networkMs: 0, queueMs: 0, serviceMs: 0, decodeMs: 0, combineMs: 0 }

describe('LapProfile', () => {
  it('divides a wait as the slowest answer spent its time, after what was done here at its end', () => {
    const profile = new LapProfile(() => 100)
    profile.addWait(0, 0, { encodeMs: 0, networkMs: 30, queueMs: 10, serviceMs: 120, decodeMs: 15, combineMs: 5 })
    profile.lapDone(100)
    const [{ combine, serialise, queue, experts, network }] = profile.layers()
    assert.deepEqual([combine, serialise, queue, experts, network], [5, 15, 5, 60, 15])
  })

  it('charges a wait that ended before the answer did with no more than it took', () => {
    const profile = new LapProfile(() => 4)
    profile.addWait(0, 0, { ...NO_TIMING, serviceMs: 9, decodeMs: 3, combineMs: 2 })
    profile.lapDone(4)
    const [{ combine, serialise, experts }] = profile.layers()
    assert.deepEqual([combine, serialise, experts], [2, 2, 0])
  })

  it('takes encoding out of what sending was charged with', () => {
    const profile = new LapProfile(() => 10)
    profile.add(0, 'send', 0)
    profile.addWait(0, 10, { ...NO_TIMING, encodeMs: 4 })
    profile.lapDone(10)
    const [{ send, serialise }] = profile.layers()
    assert.deepEqual([send, serialise], [6, 4])
  })

  it('takes what a wait was for others\' turns, and for the sending of all, out of what answers took', () => {
    const profile = new LapProfile(() => 100)
    profile.addWait(0, 10, { ...NO_TIMING, networkMs: 40 }, { fromMs: 40, toMs: 55 })
    profile.addWait(1, 50, { ...NO_TIMING, networkMs: 40 }, { fromMs: 40, toMs: 55 })
    profile.addWait(2, 60, { ...NO_TIMING, networkMs: 40 }, { fromMs: 40, toMs: 55 })
    profile.lapDone(100)
    assert.deepEqual(profile.layers().map(({ turn, send, network }) => [turn, send, network]), [[30, 15, 45], [0, 5, 45], [0, 0, 40]])
  })

  it('adds up to the total, with what is not explained in a row of its own', () => {
    const profile = new LapProfile(() => 50)
    profile.addOnce('embedding', 47)
    profile.add(0, 'attention', 40)
    profile.add(1, 'attention', 45)
    profile.addWait(0, 30, { ...NO_TIMING, networkMs: 1 })
    profile.addOnce('head', 44)
    profile.lapDone(50)
    const { total, ...rows } = profile.mean()
    assert.deepEqual({ attention: rows.attention, other: rows.other, total }, { attention: 15, other: 6, total: 50 })
    assert.equal(Object.values(rows).reduce((a, b) => a + b, 0), total)
  })

  it('gives means over laps', () => {
    const profile = new LapProfile(() => 40)
    for (const ms of [10, 30]) {
      profile.add(0, 'denseMlp', 40 - ms)
      profile.lapDone(ms)
    }
    assert.equal(profile.mean().denseMlp, 20)
    assert.equal(profile.mean().total, 20)
  })
})
