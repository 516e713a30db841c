import assert from 'node:assert/strict'
import { PLACEMENT_SAMPLE_PEERS, SETTLE_LOOKS, SETTLE_MS } from '../../../swarm/constants.js'
import type { HostedBlock } from '../../../swarm/interface.js'
import { withHolders } from '../../../swarm/selection/holders.js'
import { placeOf } from '../../../swarm/selection/order.js'
import { planPlacement } from '../../../swarm/selection/placement.js'
import { isSettled } from '../../../swarm/selection/settling.js'
import { seeded } from '../../../scripts/seeded.js'

/** A signed manifest is given out for so long. */
const RESEAL_MS = 500
const STEP_MS = 100

interface Told { intended: HostedBlock[], fetching: HostedBlock[], blocks: HostedBlock[], capacity: number }

interface Starting {
  peerId: string
  manifest: Told
  budget: number
  nextLookMs: number
  looks: number
  settledAtMs: number | undefined
}

interface Outcome {
  /** Blocks of which no volunteer has a replica. */
  holes: number
  mostReplicas: number
  leastReplicas: number
  mostLooks: number
  /** Manifests that a volunteer asked for at a look, at most. */
  mostAsked: number
  settledMs: number
}

/** Volunteers that start within `spreadMs` beside a seeder, and look as Donation does (node/donation.ts), until each has settled. */
function simulate (seed: number, { peers, layers, blocks, budget, spreadMs = 500 }: { peers: number, layers: number, blocks: number, budget: number, spreadMs?: number }): Outcome {
  const random = seeded(seed)
  const model = Array.from({ length: layers * blocks }, (_, at) => ({ layer: Math.floor(at / blocks), firstExpert: at % blocks * 2, experts: 2, bytes: 1 }))
  const swarm: Starting[] = Array.from({ length: peers }, (_, at) => ({
    peerId: `peer${at}-${seed}`, manifest: { intended: [], fetching: [], blocks: [], capacity: 1 }, budget, nextLookMs: random() * spreadMs, looks: 0, settledAtMs: undefined
  }))
  const seeder: Pick<Starting, 'peerId' | 'manifest'> = { peerId: 'seeder', manifest: { intended: [], fetching: [], blocks: model, capacity: 4 } }
  const outcome = { mostLooks: 0, mostAsked: 0, settledMs: 0 }
  let seen: Array<Pick<Starting, 'peerId' | 'manifest'>> = []
  for (let nowMs = 0; swarm.some(({ settledAtMs }) => settledAtMs == null); nowMs += STEP_MS) {
    if (nowMs % RESEAL_MS === 0) seen = [seeder, ...swarm.filter(({ nextLookMs, looks }) => looks > 0 || nextLookMs < nowMs).map(({ peerId, manifest }) => ({ peerId, manifest: { ...manifest } }))]
    for (const peer of swarm) {
      if (peer.settledAtMs != null || peer.nextLookMs > nowMs) continue
      const others = seen.filter(({ peerId }) => peerId !== peer.peerId)
      const whole = others.length <= PLACEMENT_SAMPLE_PEERS
      const live = whole ? others : others.map(other => ({ other, place: placeOf(peer.peerId, other.peerId) })).sort((a, b) => a.place - b.place).slice(0, PLACEMENT_SAMPLE_PEERS).map(({ other }) => other)
      outcome.mostAsked = Math.max(outcome.mostAsked, live.length)
      const held = withHolders(model, live)
      const { take } = planPlacement({ peerId: peer.peerId, budgetBytes: peer.budget, blocks: held, own: [], intended: peer.manifest.intended, whole, nowMs, random })
      peer.looks++
      if (isSettled({ look: peer.looks, take, intended: peer.manifest.intended, blocks: held, whole })) {
        peer.settledAtMs = nowMs
        peer.manifest = { ...peer.manifest, intended: [], fetching: take }
      } else {
        peer.manifest = { ...peer.manifest, intended: take }
        peer.nextLookMs = nowMs + SETTLE_MS * (1 + random())
      }
      outcome.mostLooks = Math.max(outcome.mostLooks, peer.looks)
      outcome.settledMs = nowMs
    }
  }
  const replicas = model.map(({ layer, firstExpert }) => swarm.filter(({ manifest }) => manifest.fetching.some(block => block.layer === layer && block.firstExpert === firstExpert)).length)
  return { ...outcome, holes: replicas.filter(count => count === 0).length, mostReplicas: Math.max(...replicas), leastReplicas: Math.min(...replicas) }
}

describe('volunteers that start at the same moment', function () {
  this.timeout(60_000)

  for (const { id, swarm, slack } of [
    { id: 'three with half of the model each', swarm: { peers: 3, layers: 6, blocks: 4, budget: 12 }, slack: 1 },
    { id: 'three with room for exactly the model', swarm: { peers: 3, layers: 6, blocks: 4, budget: 8 }, slack: 0 },
    { id: 'twelve with room for exactly the model', swarm: { peers: 12, layers: 6, blocks: 8, budget: 4 }, slack: 0 },
    { id: 'a hundred with room for twice the model', swarm: { peers: 100, layers: 30, blocks: 8, budget: 5 }, slack: 4 }
  ]) {
    it(`${id}: cover it without the seeder, evenly, within ${SETTLE_LOOKS} looks`, () => {
      for (let seed = 1; seed <= 10; seed++) {
        const outcome = simulate(seed, swarm)
        assert.equal(outcome.holes, 0, `seed ${seed}: ${JSON.stringify(outcome)}`)
        assert.ok(outcome.mostReplicas - outcome.leastReplicas <= slack, `seed ${seed}: ${JSON.stringify(outcome)}`)
        assert.ok(outcome.mostLooks <= SETTLE_LOOKS)
      }
    })
  }

  it('six hundred: ask a bounded number of others, twice, and cover the model', () => {
    const outcome = simulate(1, { peers: 600, layers: 30, blocks: 8, budget: 6 })
    assert.equal(outcome.holes, 0)
    assert.ok(outcome.mostAsked <= PLACEMENT_SAMPLE_PEERS)
  })
})
