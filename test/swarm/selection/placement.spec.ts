import assert from 'node:assert/strict'
import { PLACEMENT_HOLD_MS, PLACEMENT_HOLE_TURN_MS, PLACEMENT_MAX_MOVES, PLACEMENT_TURN_MS } from '../../../swarm/constants.js'
import type { HostedBlock } from '../../../swarm/interface.js'
import { withHolders } from '../../../swarm/selection/holders.js'
import { planPlacement, type BlockHolder, type PlacementBlock, type PlacementInput, type PlacementReason, type PlacementRest, type PlacementState } from '../../../swarm/selection/placement.js'
import { seeded } from '../../../scripts/seeded.js'

/** 'layer.block' of a model of 2 experts a block. */
function blockOf (name: string): HostedBlock {
  const [layer, at] = name.split('.').map(Number)
  return { layer, firstExpert: at * 2, experts: 2 }
}

function nameOf ({ layer, firstExpert }: HostedBlock): string {
  return `${layer}.${firstExpert / 2}`
}

/** Block -> its holders, as ids or [id, capacity]. */
type Coverage = Record<string, Array<string | [string, number]>>

function blocksOf (coverage: Coverage, bytes = 1): PlacementBlock[] {
  return Object.entries(coverage).map(([name, holders]) => ({
    ...blockOf(name),
    bytes,
    holders: holders.map(holder => typeof holder === 'string' ? { peerId: holder, capacity: 1 } : { peerId: holder[0], capacity: holder[1] })
  }))
}

const DUE: PlacementState = { holdUntilMs: 0 }

interface Row {
  id: string
  coverage: Coverage
  own?: string[]
  budget: number
  maxMoves?: number
  state?: PlacementState
  take?: string[]
  drop?: string[]
  rest?: PlacementRest
  reasons?: PlacementReason[]
}

const FILL: Row[] = [
  { id: 'holes before all else', coverage: { '0.0': ['a'], '0.1': [], '1.0': ['a', 'b'], '1.1': [] }, budget: 2, take: ['0.1', '1.1'], reasons: ['hole', 'hole'] },
  { id: 'the least covered next', coverage: { '0.0': ['a', 'b', 'c'], '0.1': ['a'], '1.0': ['a', 'b'] }, budget: 2, take: ['0.1', '1.0'], reasons: ['least-covered', 'least-covered'] },
  { id: 'everything, when there is room', coverage: { '0.0': ['a'], '0.1': [] }, budget: 9, take: ['0.1', '0.0'] },
  { id: 'nothing without a budget', coverage: { '0.0': [] }, budget: 0, rest: 'balanced' },
  { id: 'nothing of a model that is hosted whole', coverage: { '0.0': ['a'] }, own: ['0.0'], budget: 9, rest: 'balanced' },
  { id: 'whole layers where coverage is equal', coverage: { '0.0': ['a', 'b'], '0.1': ['a'], '1.0': ['a'], '1.1': ['a'], '2.0': ['a'], '2.1': ['a', 'b'] }, budget: 2, take: ['1.0', '1.1'], reasons: ['least-covered', 'completes-layer'] },
  { id: 'the rest of a layer that it has a part of', coverage: { '0.0': ['a'], '0.1': ['a'], '0.2': ['a'], '1.0': ['a'], '1.1': ['a'], '1.2': ['a'] }, own: ['1.1'], budget: 3, take: ['1.0', '1.2'], reasons: ['completes-layer', 'completes-layer'] },
  { id: 'a slow replica counts less than a fast one', coverage: { '0.0': [['a', 9]], '0.1': [['b', 1]] }, budget: 1, take: ['0.1'] },
  { id: 'what a peer says of its capacity is bounded', coverage: { '0.0': [['liar', 1e9]], '0.1': [['b', 4], ['c', 9], ['d', 9]] }, budget: 1, take: ['0.0'] }
]

const MOVE: Row[] = [
  { id: 'to a hole, from what others have too', coverage: { '0.0': ['a', 'b'], '0.1': [], '1.0': [] }, own: ['0.0', '1.0'], budget: 2, take: ['0.1'], drop: ['0.0'], reasons: ['move', 'move'] },
  { id: 'never by giving up the last replica', coverage: { '0.0': [], '0.1': [] }, own: ['0.0'], budget: 1, rest: 'balanced' },
  { id: 'not when the worse of the two would not gain', coverage: { '0.0': ['a'], '0.1': ['a'] }, own: ['0.0'], budget: 1, rest: 'balanced' },
  { id: 'when one block has three replicas and another one', coverage: { '0.0': ['a', 'b'], '0.1': ['a'] }, own: ['0.0'], budget: 1, take: ['0.1'], drop: ['0.0'] },
  { id: 'not for little, where all is covered well', coverage: { '0.0': 'abcdefghijkl'.split(''), '0.1': 'abcdefghij'.split('') }, own: ['0.0'], budget: 1, rest: 'balanced' },
  { id: 'only so many blocks at a time', coverage: { '0.0': ['a', 'b'], '0.1': ['a', 'b'], '0.2': ['a', 'b'], '1.0': [], '1.1': [], '1.2': [] }, own: ['0.0', '0.1', '0.2'], budget: 3, maxMoves: 1, take: ['1.x'], drop: ['0.x'] },
  { id: 'not to where it does not fit', coverage: { '0.0': ['a', 'b'] }, own: ['0.0'], budget: 1, rest: 'balanced' },
  { id: 'not while it must hold still', coverage: { '0.0': ['a', 'b', 'c'], '0.1': ['a'] }, own: ['0.0'], budget: 1, state: { holdUntilMs: 5_000 }, rest: 'holding' },
  { id: 'over budget, the best covered goes', coverage: { '0.0': ['a'], '0.1': ['a', 'b'], '1.0': [] }, own: ['0.0', '0.1', '1.0'], budget: 1, drop: ['0.1', '0.0'], reasons: ['over-budget', 'over-budget'] }
]

function inputOf ({ coverage, own = [], budget, maxMoves }: Row): PlacementInput {
  // An id that keeps none of the blocks below: who keeps is another test.
  return { peerId: 'me', budgetBytes: budget, blocks: blocksOf(coverage), own: own.map(blockOf), nowMs: 0, random: seeded(1), maxMoves }
}

/** 'layer.x' stands for any block of the layer. */
function assertNames (blocks: HostedBlock[], expected: string[]): void {
  const names = blocks.map(nameOf).map((name, at) => expected[at]?.endsWith('x') ? name.replace(/\d+$/, 'x') : name)
  assert.deepEqual(names, expected)
}

/** The first of some ids that is no keeper of what the row's peer may give up, and whose turn it is. */
function giver (row: Row): string {
  for (let at = 0; at < 1_000; at++) {
    const peerId = `me${at}`
    if (planPlacement({ ...inputOf(row), peerId, state: DUE }).take.length === (row.take?.length ?? 1)) return peerId
  }
  return 'me'
}

describe('placement', () => {
  for (const row of FILL) {
    it(`takes ${row.id}`, () => {
      const plan = planPlacement(inputOf(row))
      assertNames(plan.take, row.take ?? [])
      assertNames(plan.drop, [])
      assert.equal(plan.rest, row.rest)
      if (row.reasons != null) assert.deepEqual(plan.reasons.map(({ reason }) => reason), row.reasons)
    })
  }

  for (const row of MOVE) {
    it(`moves: ${row.id}`, () => {
      const peerId = giver(row)
      const plan = planPlacement({ ...inputOf(row), peerId, state: row.state ?? DUE })
      assertNames(plan.take, row.take ?? [])
      assertNames(plan.drop, row.drop ?? [])
      assert.equal(plan.rest, row.rest)
      if (row.reasons != null) assert.deepEqual(plan.reasons.map(({ reason }) => reason), row.reasons)
    })
  }

  it('is planned from what live peers hold', () => {
    const blocks = ['1.0', '0.0', '0.1'].map(name => ({ ...blockOf(name), bytes: 7 }))
    const live = [
      { peerId: 'a', manifest: { capacity: 3, blocks: [{ layer: 0, firstExpert: 0, experts: 4 }] } },
      { peerId: 'b', manifest: { capacity: 2, blocks: [blockOf('0.1'), { layer: 1, firstExpert: 1, experts: 1 }] } }
    ]
    assert.deepEqual(withHolders(blocks, live), [
      { ...blockOf('0.0'), bytes: 7, holders: [{ peerId: 'a', capacity: 3 }] },
      { ...blockOf('0.1'), bytes: 7, holders: [{ peerId: 'a', capacity: 3 }, { peerId: 'b', capacity: 2 }] },
      { ...blockOf('1.0'), bytes: 7, holders: [] }
    ])
  })

  it('does not take a block that is larger than its room', () => {
    const [large, small] = blocksOf({ '0.0': [], '0.1': ['a'] })
    const plan = planPlacement({ ...inputOf({ id: '', coverage: {}, budget: 5 }), blocks: [{ ...large, bytes: 6 }, { ...small, bytes: 5 }] })
    assertNames(plan.take, ['0.1'])
  })

  it('holds after a move, with jitter, but not when there is a hole', () => {
    const row: Row = { id: '', coverage: { '0.0': ['a', 'b', 'c'], '0.1': ['a'] }, own: ['0.0'], budget: 1 }
    const input = { ...inputOf(row), peerId: giver(row) }
    assert.equal(planPlacement({ ...input, state: { holdUntilMs: 1 } }).rest, 'holding')
    const { state, take } = planPlacement({ ...input, state: DUE })
    assertNames(take, ['0.1'])
    assert.ok(state.holdUntilMs > PLACEMENT_HOLD_MS && state.holdUntilMs < 2 * PLACEMENT_HOLD_MS)
    const hole: Row = { ...row, coverage: { '0.0': ['a', 'b', 'c'], '0.1': [] } }
    assertNames(planPlacement({ ...inputOf(hole), peerId: giver(hole), state }).take, ['0.1'])
  })

  it('lets one peer at a time move to a block, only in the first half of its turn, and each in its time', () => {
    const ids = Array.from({ length: 8 }, (_, at) => `peer${at}`)
    const moversAt = (nowMs: number): string[] => ids.filter(peerId => {
      // Of the ten blocks that this peer could give up, it may give up some.
      const coverage: Coverage = { '9.0': ['z'] }
      const own = Array.from({ length: 10 }, (_, at) => `0.${at}`)
      for (const name of own) coverage[name] = ['a', 'b', 'c', 'd']
      coverage['8.0'] = [...ids.filter(id => id !== peerId), 'z']
      return planPlacement({ ...inputOf({ id: '', coverage, own, budget: 10, maxMoves: 1 }), peerId, nowMs, state: DUE }).take.length > 0
    })
    const movers = Array.from({ length: 60 }, (_, turn) => moversAt(turn * PLACEMENT_TURN_MS))
    assert.ok(movers.every(({ length }) => length <= 1))
    assert.deepEqual([...new Set(movers.flat())].sort(), ids)
    assert.ok(Array.from({ length: 60 }, (_, turn) => moversAt((turn + 0.5) * PLACEMENT_TURN_MS)).every(({ length }) => length === 0))
  })

  it('lets exactly one of all holders keep a block, whoever looks', () => {
    const ids = Array.from({ length: 6 }, (_, at) => `peer${at}`)
    for (let layer = 0; layer < 10; layer++) {
      const held = `${layer}.0`
      const keepers = ids.filter(peerId => {
        const coverage = { [held]: ids.filter(id => id !== peerId), [`${layer}.1`]: [] }
        const input = { ...inputOf({ id: '', coverage, own: [held], budget: 1 }), peerId, state: DUE }
        // Whoever ever moves in a long time is no keeper.
        return Array.from({ length: 1_000 }, (_, turn) => turn).every(turn => planPlacement({ ...input, nowMs: turn * PLACEMENT_HOLE_TURN_MS }).drop.length === 0)
      })
      assert.equal(keepers.length, 1, `layer ${layer}`)
    }
  })

  describe('of a swarm', () => {
    for (const seed of [1, 2, 3]) {
      it(`with joins and leaves converges to full coverage and then rests (seed ${seed})`, () => {
        const swarm = new SimulatedSwarm(seed, 12, 6)
        swarm.join(Infinity)
        for (let at = 0; at < 24; at++) swarm.joinAt(Math.floor(swarm.random() * 120), 3 + Math.floor(swarm.random() * 18))
        // The seeder and a quarter of the volunteers leave.
        swarm.leaveAt(300, 0)
        for (let at = 1; at <= 6; at++) swarm.leaveAt(300 + Math.floor(swarm.random() * 300), at * 4)
        swarm.runUntil(1_500);
        assert.deepEqual(swarm.holes(), [])
        const before = swarm.moves
        swarm.runUntil(3_000)
        // A last block may have waited for the turn of a peer that can take it; where volunteers oscillate, these are hundreds.
        assert.ok(swarm.moves - before <= 4, `${swarm.moves - before} blocks moved after everything was quiet`)
        assert.deepEqual(swarm.holes(), [])
        assert.ok(swarm.moves <= 24 * 8, `${swarm.moves} blocks moved`)
        assert.equal(swarm.lastReplicasDropped, 0)
      })
    }

    it('of volunteers that all start at once beside a seeder needs no seeder any more', () => {
      for (let seed = 10; seed < 20; seed++) {
        const swarm = new SimulatedSwarm(seed, 6, 4)
        swarm.join(Infinity)
        for (let at = 0; at < 3; at++) swarm.joinAt(1, 8)
        swarm.runUntil(900)
        swarm.leaveAt(901, 0)
        swarm.runUntil(902)
        assert.deepEqual(swarm.holes(), [], `seed ${seed}`)
      }
    })
  })
})

interface Volunteer {
  peerId: string
  capacity: number
  budget: number
  own: HostedBlock[]
  /** Being fetched until `busyUntil`, with what is given up for it then. */
  pending: { take: HostedBlock[], drop: HostedBlock[] } | undefined
  busyUntil: number
  state: PlacementState | undefined
}

/** Seconds as steps; what a volunteer sees of the others is five seconds old; a block takes ten seconds to fetch; all blocks are of 1 byte. */
class SimulatedSwarm {
  readonly random: () => number
  readonly #model: HostedBlock[]
  readonly #schedule: Array<{ at: number, act: () => void }> = []
  readonly #volunteers = new Map<number, Volunteer>()
  /** Block -> who holds it. */
  #seen = new Map<string, BlockHolder[]>()
  #now = 0
  #joined = 0
  moves = 0
  lastReplicasDropped = 0

  constructor (seed: number, layers: number, blocks: number) {
    this.random = seeded(seed)
    this.#model = Array.from({ length: layers * blocks }, (_, at) => blockOf(`${Math.floor(at / blocks)}.${at % blocks}`))
  }

  join (budget: number): void {
    const volunteer = { peerId: `peer${this.#joined}`, capacity: 1 + Math.floor(this.random() * 8), budget, own: budget === Infinity ? [...this.#model] : [], pending: undefined, busyUntil: 0, state: undefined }
    this.#volunteers.set(this.#joined++, volunteer)
  }

  joinAt (at: number, budget: number): void {
    this.#schedule.push({ at, act: () => { this.join(budget) } })
  }

  leaveAt (at: number, index: number): void {
    this.#schedule.push({ at, act: () => { this.#volunteers.delete(index) } })
  }

  holes (): string[] {
    const held = new Set([...this.#volunteers.values()].flatMap(({ own }) => own.map(nameOf)))
    return this.#model.map(nameOf).filter(name => !held.has(name))
  }

  runUntil (end: number): void {
    for (; this.#now < end; this.#now++) {
      for (const { act } of this.#schedule.filter(({ at }) => at === this.#now)) act()
      if (this.#now % 5 === 0) this.#look()
      for (const [index, volunteer] of this.#volunteers) this.#step(index, volunteer)
    }
  }

  #look (): void {
    this.#seen = new Map(this.#model.map(block => [nameOf(block), []]))
    for (const { peerId, capacity, own } of this.#volunteers.values()) {
      for (const block of own) this.#seen.get(nameOf(block))?.push({ peerId, capacity })
    }
  }

  #step (index: number, volunteer: Volunteer): void {
    if (this.#now < volunteer.busyUntil) return
    if (volunteer.pending != null) this.#arrive(volunteer, volunteer.pending)
    if (volunteer.budget === Infinity || this.#now % 5 !== index % 5) return
    const plan = planPlacement({
      peerId: volunteer.peerId,
      budgetBytes: volunteer.budget,
      blocks: this.#model.map(block => ({ ...block, bytes: 1, holders: (this.#seen.get(nameOf(block)) ?? []).filter(({ peerId }) => peerId !== volunteer.peerId) })),
      own: volunteer.own,
      nowMs: this.#now * 1_000,
      state: volunteer.state,
      random: this.random
    })
    volunteer.state = plan.state
    assert.ok(plan.take.length <= Math.max(PLACEMENT_MAX_MOVES, volunteer.budget - volunteer.own.length))
    if (plan.take.length === 0) return
    this.moves += plan.drop.length
    volunteer.pending = plan
    volunteer.busyUntil = this.#now + 10 * plan.take.length
  }

  #arrive (volunteer: Volunteer, { take, drop }: { take: HostedBlock[], drop: HostedBlock[] }): void {
    volunteer.pending = undefined
    const dropped = new Set(drop.map(nameOf))
    volunteer.own = [...volunteer.own, ...take].filter(block => !dropped.has(nameOf(block)))
    for (const name of dropped) {
      if (this.holes().includes(name)) this.lastReplicasDropped++
    }
  }
}
