import assert from 'node:assert/strict'
import { type Holding, lacking, LAYOUT } from '../../../scripts/chaos/layout.js'
import { addedTimes, broken, quantile } from '../../../scripts/chaos/report.js'
import { type Fault, FAULT_KINDS, faultSchedule } from '../../../scripts/chaos/schedule.js'

const MINUTES = 10
const scheduleOf = (seed: number, layout: readonly Holding[] = LAYOUT): Fault[] => faultSchedule({ seed, durationMs: MINUTES * 60_000, layout })

describe('the schedule of the chaos', () => {
  it('follows from its seed alone', () => {
    assert.deepEqual(scheduleOf(7), scheduleOf(7))
    assert.notDeepEqual(scheduleOf(7), scheduleOf(8))
  })

  it('is for a swarm with two or three replicas of every block', () => {
    const blocks = Array.from({ length: 6 * 4 }, (_, at) => [at >> 2, (at & 3) * 8])
    const replicas = blocks.map(([layer, first]) => LAYOUT.filter(({ layers, firstExpert, experts }) => layers.includes(layer) && firstExpert <= first && first + 8 <= firstExpert + experts).length)
    assert.deepEqual([...new Set(replicas)].sort(), [2, 3])
    assert.equal(LAYOUT.length, 12)
  })

  for (const seed of [1, 2, 3, 4, 5]) {
    it(`leaves every block with a peer to which nothing happens, with seed ${seed}`, () => {
      const faults = scheduleOf(seed)
      for (const { atMs } of faults) {
        // Read from the list itself: who is away at this moment, by the faults that have begun and not ended.
        const away = new Set(faults.filter(fault => fault.kind !== 'slow' && fault.atMs <= atMs && atMs <= fault.atMs + fault.lastsMs).map(({ peer }) => peer))
        const here = LAYOUT.flatMap((_, peer) => away.has(peer) ? [] : [peer])
        for (const peer of away) assert.deepEqual(lacking(LAYOUT, peer, here), [], `at ${atMs} ms`)
      }
    })
  }

  it('does nothing to a peer to which something is being done', () => {
    const faults = scheduleOf(3)
    for (const [at, fault] of faults.entries()) {
      const before = faults.slice(0, at).filter(({ peer }) => peer === fault.peer).at(-1)
      assert.ok(before === undefined || before.atMs + before.lastsMs < fault.atMs)
    }
  })

  it('has every kind, also in a minute and a half', () => {
    const short = faultSchedule({ seed: 1, durationMs: 90_000, layout: LAYOUT })
    for (const kind of FAULT_KINDS) if (kind !== 'lie') assert.ok(short.some(fault => fault.kind === kind), kind)
    assert.ok(short.length >= 12, `${short.length} faults`)
  })

  it('makes peers lie only when told to', () => {
    assert.ok(scheduleOf(1).every(({ kind }) => kind !== 'lie'))
    assert.ok(faultSchedule({ seed: 1, durationMs: 180_000, layout: LAYOUT, lies: true }).some(({ kind }) => kind === 'lie'))
  })

  it('takes nothing from a swarm without replicas', () => {
    const alone = LAYOUT.slice(0, 6).filter((_, at) => at % 2 === 0)
    assert.deepEqual([...new Set(scheduleOf(1, alone).map(({ kind }) => kind))], ['slow'])
  })
})

describe('the report of the chaos', () => {
  const fault = (kind: Fault['kind'], beganMs: number): Fault & { beganMs: number } => ({ kind, beganMs, atMs: beganMs, peer: 0, lastsMs: 0 })

  it('gives the time of late tokens to the fault before them', () => {
    const gapMs = [10, 10, 500, 10, 20, 300, 10, 10]
    const tokenMs = gapMs.map((_, at) => gapMs.slice(0, at + 1).reduce((a, b) => a + b, 0))
    const { usualMs, added } = addedTimes([fault('kill', 25), fault('stop', 555)], tokenMs, gapMs)
    assert.equal(usualMs, 10)
    assert.deepEqual(added, [
      { kind: 'kill', faults: 1, medianMs: 490, p99Ms: 490, mostMs: 490 },
      { kind: 'stop', faults: 1, medianMs: 290, p99Ms: 290, mostMs: 290 }
    ])
  })

  it('says what must not be', () => {
    const well = { tokens: 5, differing: 0, failures: [], liars: 0, audit: 0.02 }
    assert.deepEqual(broken(well), [])
    assert.match(broken({ ...well, differing: 1 })[0], /1 tokens differ/)
    assert.match(broken({ ...well, failures: [{ atMs: 1, code: 'experts-unavailable', message: 'Nobody.' }] })[0], /Nobody/)
    assert.deepEqual(broken({ ...well, differing: 1, liars: 2 }), [], 'a lie was believed before its peer was caught')
    assert.match(broken({ ...well, differing: 1, liars: 2, audit: 1 })[0], /1 tokens differ/)
    assert.match(broken({ ...well, tokens: 0 })[0], /no token/)
  })

  it('counts quantiles by rank', () => {
    assert.deepEqual([quantile([3, 1, 2], 0.5), quantile([1, 2, 3, 4], 0.99), quantile([5], 0.01)], [2, 4, 5])
  })
})
