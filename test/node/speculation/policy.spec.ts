import assert from 'node:assert/strict'
import { type Candidate, DraftPolicy, MAX_DRAFT } from '../../../node/client/speculation/index.js'

/** A link, a machine and a text, as a policy sees them. */
interface World {
  /** Milliseconds of a lap with k tokens. */
  lap: (tokens: number) => number
  /** Milliseconds of a drafted token, and the probability that it is right where all before it are, by drafter. */
  drafters: Record<string, { tokenMs: number, right: (position: number, lap: number) => number }>
}

interface Result { tokensPerSecond: number, drafting: number, meanLength: number, by: Record<string, number> }

/** A seeded generator in [0, 1). */
function chance (seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

/** The first places of a draft. */
const first = (count: number): number[] => Array.from({ length: count }, (_, place) => place)

/** Runs `laps` laps; the last half of them counts. `fixed` drafts as many tokens every time. */
function simulate ({ lap, drafters }: World, { laps = 600, fixed, jitter = 0.05 }: { laps?: number, fixed?: { arm: string, length: number }, jitter?: number } = {}): Result {
  const policy = new DraftPolicy()
  const random = chance(5)
  const candidates: Candidate[] = Object.keys(drafters).map(arm => ({ arm, most: MAX_DRAFT }))
  let [ms, tokens, drafting, length] = [0, 0, 0, 0]
  const by: Record<string, number> = {}
  for (let i = 0; i < laps; i++) {
    const decision = fixed === undefined ? policy.decide(candidates) : { ...fixed, trial: false }
    const { tokenMs, right } = decision.arm === undefined ? { tokenMs: 0, right: () => 0 } : drafters[decision.arm]
    let accepted = 0
    while (accepted < decision.length && random() < right(accepted, i)) accepted++
    const draftMs = decision.length * tokenMs
    const lapMs = lap(1 + decision.length) * (1 + jitter * (2 * random() - 1))
    if (fixed === undefined) policy.observe({ ...decision, drafted: decision.length, right: first(accepted), draftMs, lapMs, computeMs: 0 })
    if (i < laps / 2) continue
    ms += draftMs + lapMs
    tokens += 1 + accepted
    if (decision.length === 0) continue
    drafting++
    length += decision.length
    by[decision.arm!] = (by[decision.arm!] ?? 0) + 1
  }
  return { tokensPerSecond: 1000 * tokens / ms, drafting: drafting / (laps / 2), meanLength: length / Math.max(1, drafting), by }
}

/** The best that one drafter with one length can do, not drafting included. */
function best (world: World): number {
  const all = Object.keys(world.drafters).flatMap(arm => Array.from({ length: MAX_DRAFT + 1 }, (_, length) => simulate(world, { fixed: { arm, length } }).tokensPerSecond))
  return Math.max(...all)
}

/** The demo drafter's acceptance, measured (see model-tools/demo-drafter/NOTES.md). */
const demo = (position: number): number => [0.716, 0.757, 0.744, 0.772][Math.min(position, 3)]
const LAYERS = 30

describe('DraftPolicy, simulated', () => {
  const worlds: Record<string, World & { drafts: 'hardly' | 'mostly' }> = {
    'RTT 0, a lap costs as much as its tokens': { lap: k => 90 * k, drafters: { assistant: { tokenMs: 8, right: demo } }, drafts: 'hardly' },
    'RTT 0, four tokens cost two and a half laps, a poor drafter': { lap: k => 45 + 45 * k, drafters: { assistant: { tokenMs: 8, right: () => 0.3 } }, drafts: 'hardly' },
    'RTT 0, four tokens cost two and a half laps, a good drafter': { lap: k => 45 + 45 * k, drafters: { assistant: { tokenMs: 8, right: () => 0.9 } }, drafts: 'mostly' },
    'RTT 18 ms': { lap: k => LAYERS * 18 + 60 + 30 * k, drafters: { assistant: { tokenMs: 8, right: demo } }, drafts: 'mostly' },
    'RTT 18 ms, expensive drafts': { lap: k => LAYERS * 18 + 60 + 30 * k, drafters: { self: { tokenMs: 90, right: () => 0.6 } }, drafts: 'mostly' },
    'RTT 100 ms': { lap: k => LAYERS * 100 + 60 + 30 * k, drafters: { assistant: { tokenMs: 8, right: demo } }, drafts: 'mostly' },
    'RTT 18 ms, nothing is ever right': { lap: k => LAYERS * 18 + 60 + 30 * k, drafters: { assistant: { tokenMs: 8, right: () => 0.02 } }, drafts: 'hardly' },
    'RTT 18 ms, three drafters': {
      lap: k => LAYERS * 18 + 60 + 30 * k, drafts: 'mostly',
      drafters: { 'lookup/short': { tokenMs: 0, right: () => 0.25 }, assistant: { tokenMs: 8, right: demo }, self: { tokenMs: 100, right: () => 0.7 } }
    }
  }
  for (const [name, world] of Object.entries(worlds)) {
    it(`comes near the best fixed choice: ${name}`, () => {
      const found = simulate(world)
      const limit = best(world)
      assert.ok(found.tokensPerSecond > 0.93 * limit, `${found.tokensPerSecond} tok/s where ${limit} are possible`)
      if (world.drafts === 'hardly') assert.ok(found.drafting < 0.1, `drafts in ${found.drafting} of the laps`)
      else assert.ok(found.drafting > 0.85, `drafts in ${found.drafting} of the laps`)
    })
  }

  it('prefers the better of two drafters, and leaves it when the text changes', () => {
    const turn = 600
    const world: World = {
      lap: k => LAYERS * 18 + 60 + 30 * k,
      drafters: {
        lookup: { tokenMs: 0, right: (_, lap) => lap < turn ? 0.9 : 0.2 },
        assistant: { tokenMs: 8, right: demo }
      }
    }
    assert.ok(simulate(world, { laps: turn }).by.lookup > 0.85 * turn / 2)
    const { by } = simulate(world, { laps: 2 * turn })
    assert.ok(by.assistant > 0.75 * turn, `${JSON.stringify(by)}`)
  })

  it('drafts more tokens where a round trip is longer', () => {
    const length = (rtt: number): number => simulate({ lap: k => LAYERS * rtt + 60 + 30 * k, drafters: { assistant: { tokenMs: 8, right: () => 0.8 } } }).meanLength
    const lengths = [2, 18, 100].map(length)
    assert.ok(lengths[0] < lengths[1] && lengths[1] < lengths[2], lengths.join(' '))
  })

  it('begins to draft when a link becomes slow, and ends when it becomes fast', () => {
    const policy = new DraftPolicy()
    const random = chance(3)
    const run = (rtt: number, laps: number): number => {
      let drafts = 0
      for (let i = 0; i < laps; i++) {
        const decision = policy.decide([{ arm: 'assistant', most: MAX_DRAFT }])
        let accepted = 0
        while (accepted < decision.length && random() < 0.7) accepted++
        policy.observe({ ...decision, drafted: decision.length, right: first(accepted), draftMs: 8 * decision.length, lapMs: LAYERS * rtt + 90 * (1 + decision.length), computeMs: 0 })
        if (i >= laps - 100 && decision.length > 0) drafts++
      }
      return drafts
    }
    assert.ok(run(0, 300) < 15)
    assert.ok(run(18, 400) > 80)
    assert.ok(run(0, 400) < 15)
  })

  it('is not misled by a lap that took a thousand times as long', () => {
    const policy = new DraftPolicy()
    const candidates = [{ arm: 'assistant', most: MAX_DRAFT }]
    const lap = (lapMs: (tokens: number) => number): number => {
      const decision = policy.decide(candidates)
      policy.observe({ ...decision, drafted: decision.length, right: first(Math.min(decision.length, 3)), draftMs: 8, lapMs: lapMs(1 + decision.length), computeMs: 0 })
      return decision.length
    }
    for (let i = 0; i < 100; i++) lap(k => 500 + 20 * k)
    lap(() => 500_000)
    let drafts = 0
    for (let i = 0; i < 50; i++) if (lap(k => 500 + 20 * k) > 0) drafts++
    assert.ok(drafts > 40, `${drafts} of 50`)
  })

  it('draws a tree out as far as its late places still pay', () => {
    const length = (lapMs: (tokens: number) => number): number => {
      const policy = new DraftPolicy()
      const random = chance(9)
      let drafted = 0
      for (let i = 0; i < 400; i++) {
        const decision = policy.decide([{ arm: 'assistant', most: MAX_DRAFT }])
        // Two ways of two tokens: the first is right in 6 of 10 laps, the second in 3.
        const at = random()
        const right = at < 0.6 ? [0, 2] : at < 0.9 ? [1, 3] : []
        policy.observe({ ...decision, drafted: decision.length, right: right.filter(place => place < decision.length), draftMs: 0, lapMs: lapMs(1 + decision.length), computeMs: 0 })
        if (i >= 200) drafted += decision.length
      }
      return drafted / 200
    }
    assert.ok(length(k => 100 + 2 * k) > 3.5)
    assert.ok(length(k => 100 + 2 * k) < 7)
    assert.ok(length(k => 10 + 10 * k) < 1.5)
  })

  describe('over 18 ms and six layers, from cold', () => {
    // The demo drafter's trees of 32, greedy: how often each place was right. A second row of a lap costs more than those after it.
    const place = [0.67, 0.47, 0.32, 0.19, 0.19, 0.13, 0.17, 0.1, 0.09, 0.09, 0.09, 0.1, 0.06, 0.07, 0.06, 0.04, ...Array.from({ length: 16 }, () => 0.03)]
    /** Tokens of a draft and tokens a second in the first laps, means of texts. */
    const cold = (laps: number, fixed?: number): { length: number, rate: number } => {
      let [drafted, tokens, ms] = [0, 0, 0]
      const texts = 20
      for (let seed = 0; seed < texts; seed++) {
        const policy = new DraftPolicy()
        const random = chance(seed)
        for (let i = 0; i < laps; i++) {
          const decision = fixed === undefined ? policy.decide([{ arm: 'assistant', most: MAX_DRAFT }]) : { arm: 'assistant', length: fixed, trial: false }
          const { length } = decision
          const right = first(length).filter(at => random() < place[at])
          const lapMs = (length === 0 ? 129 : 133 + 1.2 * length) * (0.95 + 0.1 * random())
          const draftMs = 0.5 * length
          policy.observe({ ...decision, drafted: length, right, draftMs, lapMs, computeMs: 0 })
          drafted += length
          tokens += 1 + right.length
          ms += lapMs + draftMs
        }
      }
      return { length: drafted / texts / laps, rate: 1000 * tokens / ms }
    }

    it('comes to long trees soon, though late places are rarely right and the first ones say more of what a lap costs', () => {
      const { length } = cold(150)
      assert.ok(length > 9, `${length} tokens a draft`)
    })

    it('gives most of what is possible in the thirty laps of a short text', () => {
      const limit = Math.max(...Array.from({ length: MAX_DRAFT + 1 }, (_, fixed) => cold(30, fixed).rate))
      const { rate } = cold(30)
      assert.ok(rate > 0.9 * limit, `${rate} tok/s where ${limit} are possible`)
    })
  })

  it('tries what is overdue in one of the sequences that decide at a time', () => {
    const policy = new DraftPolicy()
    const candidates = [{ arm: 'assistant', most: MAX_DRAFT }, { arm: 'self', most: MAX_DRAFT }]
    let most = 0
    for (let i = 0; i < 60; i++) {
      const decisions = Array.from({ length: 16 }, () => policy.decide(candidates))
      most = Math.max(most, decisions.filter(({ arm, trial }) => trial && arm === 'self').length)
      for (const decision of decisions) {
        policy.observe({ ...decision, drafted: decision.length, right: first(decision.arm === 'assistant' ? Math.min(3, decision.length) : 0), draftMs: 1, lapMs: 100, computeMs: 0 })
      }
    }
    assert.equal(most, 1)
  })

  describe('with 16 sequences that share a machine', () => {
    /** Tokens a second of all, by an event simulation: a lap drafts and computes on the one machine, first come first served, and then waits for the network. */
    const crowd = (networkMs: number, computeMs: (tokens: number) => number, fixed?: number): number => {
      const policy = new DraftPolicy()
      const random = chance(11)
      const ready: number[] = new Array<number>(16).fill(0)
      let [free, tokens] = [0, 0]
      const endMs = 60_000
      for (;;) {
        const next = ready.indexOf(Math.min(...ready))
        if (ready[next] >= endMs) return tokens / (endMs / 2_000)
        const decision = fixed === undefined ? policy.decide([{ arm: 'assistant', most: MAX_DRAFT }], MAX_DRAFT, 16) : { arm: 'assistant', length: fixed, trial: false }
        let accepted = 0
        while (accepted < decision.length && random() < 0.7) accepted++
        const own = computeMs(1 + decision.length)
        free = Math.max(free, ready[next]) + 0.3 * decision.length + own
        if (ready[next] > endMs / 2) tokens += 1 + accepted
        ready[next] = free + networkMs
        policy.observe({ ...decision, drafted: decision.length, right: first(accepted), draftMs: 0.3 * decision.length, lapMs: own + networkMs, computeMs: own })
      }
    }
    for (const [name, networkMs, computeMs] of [
      ['that is busy all the time', 0, (k: number) => 2 + 1.5 * k], ['that waits for the network', 400, (k: number) => 2 + 1.5 * k], ['that does both', 60, (k: number) => 1 + k]
    ] as const) {
      it(`${name}, comes near the best fixed length`, () => {
        const limit = Math.max(...Array.from({ length: MAX_DRAFT + 1 }, (_, length) => crowd(networkMs, computeMs, length)))
        const found = crowd(networkMs, computeMs)
        assert.ok(found > 0.9 * limit, `${found} tok/s where ${limit} are possible`)
      })
    }
  })

  it('keeps within what a drafter has and what the text has room for', () => {
    const policy = new DraftPolicy()
    for (let i = 0; i < 200; i++) {
      const [most, room] = [1 + i % 5, i % 4]
      const decision = policy.decide([{ arm: 'lookup', most }], room)
      assert.ok(decision.length <= Math.min(most, room))
      policy.observe({ ...decision, drafted: decision.length, right: first(decision.length), draftMs: 0, lapMs: 100, computeMs: 0 })
    }
    assert.deepEqual(policy.decideFixed([{ arm: 'lookup', most: 3 }], 8), { arm: 'lookup', length: 3, trial: false })
    assert.deepEqual(policy.decideFixed([], 8), { length: 0, trial: false })
  })
})
