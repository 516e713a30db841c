import assert from 'node:assert/strict'
import { LIES, lyingCompute } from '../../../scripts/lying-compute.js'
import type { Proof } from '../../../swarm/audit/proof.js'
import { COPY_AFTER_MS } from '../../../swarm/constants.js'
import type { ConnectSwarmInit, SwarmConnection } from '../../../swarm/client.js'
import { isSwarmError } from '../../../swarm/errors.js'
import type { RequestPart } from '../../../swarm/expert/codec.js'
import type { ExpertBatch } from '../../../swarm/interface.js'
import { batchOf } from '../fixtures/batches.js'
import { expectedSum, FakeCompute } from '../fixtures/fake-compute.js'
import { MODEL, slice, type TestPeer, TestSwarm } from '../fixtures/swarms.js'

const TOLERANCES = { fp32: 1e-6, fp16: 2e-3, int8: 0.03 }
/** A busy machine must not make peers look dead. */
const UNHURRIED = { manifestIntervalMs: 5_000, patienceMs: 20_000 }
/** Of both layers, one token and several, with experts of which each peer has all. */
const BATCHES = Array.from({ length: 24 }, (_, i) => batchOf(i % 2, MODEL.hiddenSize, i % 3 === 0 ? [[i % 8, (i + 3) % 8]] : [[i % 8], [], [1, 2, (i + 4) % 8 === 1 ? 3 : 4]]))

function isRight (sum: Float32Array, batch: ExpertBatch): boolean {
  const expected = expectedSum(batch)
  return sum.every((value, i) => Math.abs(value - expected[i]) <= 1e-4)
}

describe('peers that lie', function () {
  this.timeout(60_000)
  const swarm = new TestSwarm()
  afterEach(async () => { await swarm.stop() })

  const connected = async (peers: TestPeer[], init: Partial<ConnectSwarmInit>): Promise<{ connection: SwarmConnection, proofs: Proof[] }> => {
    const proofs: Proof[] = []
    const connection = await swarm.connect({ ...UNHURRIED, onLiar: proof => { proofs.push(proof) }, ...init })
    await connection.ready()
    await swarm.sessions(peers)
    return { connection, proofs }
  }
  const honest = async (): Promise<TestPeer> => await swarm.peer(slice(0, 8), new FakeCompute())
  const liar = async (share: number, lie: typeof LIES[number] = 'noise'): Promise<TestPeer> => await swarm.peer(slice(0, 8), lyingCompute(share, 1, lie)(new FakeCompute()))

  for (const lie of LIES) {
    it(`get nothing wrong in (${lie}) when every reply is compared, and are not asked again`, async () => {
      const peers = [await liar(0.3, lie), await honest(), await honest()]
      const { connection: { dispatcher, directory }, proofs } = await connected(peers, { audit: { share: 1, tolerances: TOLERANCES } })
      for (let round = 0; round < 4; round++) {
        for (const batch of BATCHES) {
          const { sum, unchecked } = await dispatcher.dispatch(batch)
          assert.ok(isRight(sum, batch))
          assert.deepEqual(unchecked, [])
        }
      }
      assert.deepEqual(proofs.map(({ peerId }) => peerId), [peers[0].host.peerId])
      assert.ok(directory.live.every(({ peerId }) => peerId !== peers[0].host.peerId))
      const counters = dispatcher.audits!
      // Hedged ones are compared once more.
      assert.ok(counters.compared >= 96)
      assert.deepEqual([counters.alone, counters.undecided, counters.liars], [0, 0, 1])
      assert.ok(swarm.events.some(event => event.type === 'peer-lost' && event.reason === 'lied'))
      assert.ok(swarm.events.some(event => event.type === 'peer-lied' && event.peerId === peers[0].host.peerId))
      await directory.refresh()
      assert.ok(directory.live.every(({ peerId }) => peerId !== peers[0].host.peerId), 'nobody finds it again')
    })
  }

  it('are caught while nobody waits for it, at a share of the requests', async () => {
    const peers = [await liar(0.2), await honest(), await honest()]
    const { connection: { dispatcher }, proofs } = await connected(peers, { audit: { share: 0.2, seed: 'x', tolerances: TOLERANCES } })
    let requests = 0
    for (; proofs.length === 0 && requests < 2_000; requests++) {
      await dispatcher.dispatch(BATCHES[requests % BATCHES.length])
    }
    await dispatcher.auditsSettled()
    assert.deepEqual(proofs.map(({ peerId }) => peerId), [peers[0].host.peerId], `after ${requests} requests`)
    assert.ok(dispatcher.audits!.compared < requests / 2)
    assert.ok(dispatcher.audits!.requests > 0 && dispatcher.audits!.requests < requests / 2, 'what was sent only to be compared')
    for (const batch of BATCHES) assert.ok(isRight((await dispatcher.dispatch(batch)).sum, batch))
  })

  it('are not asked by a client that is told of them', async () => {
    const peers = [await liar(1), await honest()]
    const { connection: { dispatcher, directory } } = await connected(peers.slice(1), { excluded: [peers[0].host.peerId] })
    await directory.refresh()
    for (const batch of BATCHES) assert.ok(isRight((await dispatcher.dispatch(batch)).sum, batch))
    assert.deepEqual(dispatcher.peerStats().map(({ peerId }) => peerId), [peers[1].host.peerId])
  })

  it('are told from the honest one of two by a copy on this machine', async () => {
    const peers = [await liar(0.5), await honest()]
    let computed = 0
    const { connection: { dispatcher }, proofs } = await connected(peers, {
      audit: { share: 1, tolerances: TOLERANCES },
      localCopy: async part => {
        computed++
        return copyOf(part)
      }
    })
    for (const batch of BATCHES) assert.ok(isRight((await dispatcher.dispatch(batch)).sum, batch))
    assert.deepEqual(proofs.map(({ peerId, against }) => [peerId, against[0].peerId]), [[peers[0].host.peerId, 'this machine']])
    assert.ok(computed > 1, 'what only one peer is left for is compared with the copy')
    assert.equal(dispatcher.audits!.alone, 0)
  })

  it('stop an answer that must not be wrong where nobody can tell who lies', async () => {
    const peers = [await liar(1), await honest()]
    const { connection: { dispatcher }, proofs } = await connected(peers, { audit: { share: 1, tolerances: TOLERANCES } })
    await assert.rejects(dispatcher.dispatch(BATCHES[0]), error => {
      assert.ok(isSwarmError(error, 'replies-disagree'))
      assert.deepEqual([...error.data.peerIds].sort(), peers.map(({ host }) => host.peerId).sort())
      return true
    })
    assert.deepEqual(proofs, [])
  })

  it('do not make anybody accuse honest peers, whatever forms their replies have', async () => {
    const peers = [await honest(), await honest(), await honest()]
    for (const wire of ['fp32', 'fp16', 'int8'] as const) {
      const { connection: { dispatcher }, proofs } = await connected(peers, { wire, audit: { share: 1, tolerances: TOLERANCES } })
      for (let round = 0; round < 20; round++) for (const batch of BATCHES) await dispatcher.dispatch(batch)
      assert.deepEqual([proofs.length, dispatcher.audits!.disagreements], [0, 0])
      assert.ok(dispatcher.audits!.compared >= 480)
    }
  })

  for (const [patienceMs, after] of [[100, 'once patience was in vain'], [600_000, 'long before patience ends']] as const) it(`leave what nobody holds to the copy on this machine, ${after}`, async () => {
    const peer = await swarm.peer(slice(0, 4), new FakeCompute())
    const { dispatcher } = await swarm.connect({ ...UNHURRIED, patienceMs, localCopy: async part => copyOf(part) })
    await swarm.sessions([peer])
    const batch = batchOf(1, MODEL.hiddenSize, [[0, 7], [], [3, 4, 5]])
    const startedMs = performance.now()
    for (let round = 0; round < 3; round++) assert.ok(isRight((await dispatcher.dispatch(batch)).sum, batch))
    assert.ok(performance.now() - startedMs >= Math.min(patienceMs, COPY_AFTER_MS), 'a peer may come back first')
    assert.deepEqual(swarm.events.filter(({ type }) => type === 'experts-waiting' || type === 'experts-local').map(({ type }) => type), ['experts-waiting', 'experts-local'], 'it is waited for once')
  })
})

function copyOf (part: RequestPart): Float32Array {
  const width = MODEL.hiddenSize
  const rowAt = (i: number): number => part.rows?.[Math.floor(i / width)] ?? Math.floor(i / width)
  return expectedSum({ ...part, hidden: Float32Array.from({ length: part.tokens * width }, (_, i) => part.hidden[rowAt(i) * width + i % width]) })
}
