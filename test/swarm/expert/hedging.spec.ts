import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExpertBatch } from '../../../swarm/interface.js'
import { batchOf } from '../fixtures/batches.js'
import { expectedSum, FakeCompute } from '../fixtures/fake-compute.js'
import { Gate } from '../fixtures/gate.js'
import { MODEL, slice, type TestPeer, TestSwarm } from '../fixtures/swarms.js'
import type { SwarmConnection } from '../../../swarm/client.js'

const BATCH = batchOf(1, MODEL.hiddenSize, [[0, 7], [], [3, 4, 5]])

function assertSum (sum: Float32Array, batch: ExpertBatch, tolerance = 1e-5): void {
  const expected = expectedSum(batch)
  assert.equal(sum.length, expected.length)
  sum.forEach((value, i) => { assert.ok(Math.abs(value - expected[i]) <= tolerance, `${value} for ${expected[i]}`) })
}

/** Makes a peer look near and fast, with a history that allows hedges. */
function familiar ({ directory }: SwarmConnection, { host }: TestPeer, networkMs: number): void {
  const latency = directory.live.find(({ peerId }) => peerId === host.peerId)?.latency ?? assert.fail('not live')
  for (let i = 0; i < 100; i++) latency.addServed({ networkMs, queueMs: 0, serviceMs: 0.01, assignments: 5 })
}

describe('hedged requests', () => {
  const swarm = new TestSwarm()
  const gates: Gate[] = []
  afterEach(async () => {
    for (const gate of gates.splice(0)) gate.open()
    await swarm.stop()
  })

  /** A peer that holds what it is asked for back until the test ends, and a replica. */
  const hungAndReplica = async (): Promise<{ peers: TestPeer[], cancelled: Gate, gate: Gate }> => {
    const gate = new Gate()
    const cancelled = new Gate()
    gates.push(gate)
    cancelled.open()
    const peers = [
      await swarm.peer(slice(0, 8), new FakeCompute(async (_, signal) => {
        signal?.addEventListener('abort', () => { void cancelled.pass() })
        await gate.pass()
      })),
      await swarm.peer(slice(0, 8), new FakeCompute())
    ]
    return { peers, cancelled, gate }
  }

  it('are answered by the replica of a peer that hangs, which is told to stop and avoided then', async () => {
    const { peers, cancelled } = await hungAndReplica()
    const connection = await swarm.connect()
    await connection.ready()
    await swarm.sessions(peers)
    familiar(connection, peers[0], 0.01)
    for (let round = 0; round < 40; round++) assertSum((await connection.dispatcher.dispatch(BATCH)).sum, BATCH)
    await cancelled.arrived(1)
    assert.ok(swarm.events.every(({ type }) => type !== 'request-failed'), 'nobody waited for a deadline')
    const stats = new Map(connection.dispatcher.peerStats().map(peer => [peer.peerId, peer]))
    const [hung, replica] = peers.map(({ host }) => stats.get(host.peerId) ?? assert.fail('no stats'))
    assert.equal(hung.requests, 0)
    assert.ok(hung.late >= 1 && hung.late <= 10, `asked ${hung.late} times before it was avoided`)
    assert.deepEqual([replica.requests, replica.hedges, replica.hedgesWon], [40, hung.late, hung.late])
    const choice = connection.dispatcher.plan().find(({ layer }) => layer === 1)
    assert.deepEqual(choice?.peers.map(({ peerId, reason }) => [peerId, reason]), [[peers[1].host.peerId, 'whole'], [peers[0].host.peerId, 'slower']])
  })

  it('are not sent beyond the budget', async () => {
    const { peers } = await hungAndReplica()
    const connection = await swarm.connect({ hedgeShare: 0 })
    await connection.ready()
    await swarm.sessions(peers)
    familiar(connection, peers[0], 0.01)
    assertSum((await connection.dispatcher.dispatch(BATCH)).sum, BATCH)
    assert.ok(swarm.events.every(({ type }) => type !== 'request-hedged'))
    assert.ok(swarm.events.some(event => event.type === 'request-failed' && event.code === 'timeout'))
  })

  it('take the first answer when the late one comes after all, and compare both', async () => {
    const { peers, gate } = await hungAndReplica()
    const connection = await swarm.connect({ audit: { share: 1e-9, tolerances: { fp32: 1e-6, fp16: 1e-3, int8: 1e-2 } } })
    await connection.ready()
    await swarm.sessions(peers)
    familiar(connection, peers[0], 0.01)
    assertSum((await connection.dispatcher.dispatch(BATCH)).sum, BATCH)
    gate.open()
    while (connection.dispatcher.audits?.compared === 0) await sleep(5)
    const { compareMs, ...counted } = connection.dispatcher.audits!
    assert.ok(compareMs > 0)
    assert.deepEqual(counted, { requests: 0, compared: 1, alone: 0, disagreements: 0, undecided: 0, lies: 0, liars: 0, largestPassed: 0 })
    assert.deepEqual(new Map(connection.dispatcher.peerStats().map(({ peerId, audited }) => [peerId, audited])), new Map([[peers[0].host.peerId, 1], [peers[1].host.peerId, 1]]))
  })

  it('give way to recovery when the late peer and its replica both go', async () => {
    const { peers } = await hungAndReplica()
    const both = new Gate()
    gates.push(both)
    const second = await swarm.peer(slice(0, 8), new FakeCompute(async () => { await both.pass() }))
    const connection = await swarm.connect()
    await connection.ready()
    await swarm.sessions([...peers, second])
    familiar(connection, peers[0], 0.01)
    familiar(connection, second, 0.5)
    familiar(connection, peers[1], 30)
    const result = connection.dispatcher.dispatch(BATCH)
    await both.arrived(1)
    await Promise.all([peers[0].host.stop(), second.host.stop()])
    assertSum((await result).sum, BATCH)
  })

  it('stop with the caller', async () => {
    const { peers, cancelled } = await hungAndReplica()
    const connection = await swarm.connect({ hedgeShare: 0 })
    await connection.ready()
    await swarm.sessions(peers)
    familiar(connection, peers[0], 0.01)
    const controller = new AbortController()
    const result = connection.dispatcher.dispatch(BATCH, controller.signal)
    controller.abort()
    await assert.rejects(result)
    await cancelled.arrived(1)
  })

  it('learn of a peer that has become fast again without anybody waiting for it', async () => {
    let slowMs = 300
    const peers = [await swarm.peer(slice(0, 8), new FakeCompute(async () => { await sleep(slowMs) })), await swarm.peer(slice(0, 8), new FakeCompute(async () => { await sleep(20) }))]
    const connection = await swarm.connect({ shadowIntervalMs: 100, hedgeShare: 0.5 })
    await connection.ready()
    await swarm.sessions(peers)
    const slow = connection.directory.live.find(({ peerId }) => peerId === peers[0].host.peerId)?.latency ?? assert.fail('not live')
    for (let i = 0; i < 10; i++) slow.addServed({ networkMs: 1, queueMs: 0, serviceMs: 300, assignments: 5 })
    for (let i = 0; i < 5; i++) {
      await sleep(60)
      assertSum((await connection.dispatcher.dispatch(BATCH)).sum, BATCH)
    }
    assert.equal(connection.dispatcher.peerStats().find(({ peerId }) => peerId === peers[0].host.peerId)?.requests ?? 0, 0, 'probes are nobody\'s answers')
    slowMs = 0
    const asked = (): number => connection.dispatcher.peerStats().find(({ peerId }) => peerId === peers[0].host.peerId)?.requests ?? 0
    while (asked() === 0) {
      await sleep(20)
      assertSum((await connection.dispatcher.dispatch(BATCH)).sum, BATCH)
    }
  })

  it('send int8 where the link is slow, fp16 where it is not', async () => {
    const near = await swarm.peer(slice(0, 4), new FakeCompute())
    const far = await swarm.peer(slice(4, 4), new FakeCompute())
    const connection = await swarm.connect({ wire: 'auto' })
    await connection.ready()
    await swarm.sessions([near, far])
    const latency = connection.directory.live.find(({ peerId }) => peerId === far.host.peerId)?.latency ?? assert.fail('not live')
    for (let i = 0; i < 50; i++) latency.addServed({ networkMs: i % 2 === 0 ? 1 : 400, queueMs: 0, serviceMs: 1, assignments: 5, bytes: i % 2 === 0 ? 100 : 40_000 })
    const large = batchOf(0, MODEL.hiddenSize, Array.from({ length: 400 }, (_, t) => [t % 8]))
    assertSum((await connection.dispatcher.dispatch(large)).sum, large, 0.05)
    const wires = new Map(connection.dispatcher.peerStats().map(peer => [peer.peerId, peer.wires]))
    assert.deepEqual([wires.get(near.host.peerId), wires.get(far.host.peerId)], [['fp16'], ['int8']])
  })
})
