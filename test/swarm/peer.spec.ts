import assert from 'node:assert/strict'
import { isSwarmError } from '../../swarm/errors.js'
import type { SwarmEvent } from '../../swarm/events.js'
import { SwarmInspector } from '../../swarm/inspect.js'
import { serveExperts } from '../../swarm/peer.js'
import { batchOf } from './fixtures/batches.js'
import { expectedSum, FakeCompute } from './fixtures/fake-compute.js'
import { Gate } from './fixtures/gate.js'
import { LAYERS, MODEL, slice, TestSwarm } from './fixtures/swarms.js'

describe('serving experts', () => {
  const swarm = new TestSwarm()
  afterEach(async () => { await swarm.stop() })

  it('is announced at once by a host that is alone', async () => {
    const host = await swarm.join()
    const events: SwarmEvent[] = []
    await serveExperts({ ...MODEL, host, layers: LAYERS, blocks: slice(0, 8), compute: new FakeCompute(), version: 'test/1', onEvent: event => { events.push(event) } })
    const announced = events.find(event => event.type === 'announced')
    assert.equal(announced?.keys, 1 + LAYERS)
    assert.ok(announced.tookMs < 2_000)
  })

  for (const { id, blocks } of [
    { id: 'a layer outside of the model', blocks: [{ layer: LAYERS, firstExpert: 0, experts: 8 }] },
    { id: 'experts outside of the model', blocks: [{ layer: 0, firstExpert: 4, experts: 5 }] }
  ]) {
    it(`refuses ${id}`, async () => {
      const host = await swarm.join()
      await assert.rejects(serveExperts({ ...MODEL, host, layers: LAYERS, blocks, compute: new FakeCompute(), version: 'test/1' }), error => isSwarmError(error, 'bad-argument'))
    })
  }

  it('finishes what it has when it stops, while a replica takes the rest', async () => {
    const gate = new Gate()
    const stopping = await swarm.peer(slice(0, 8), new FakeCompute(async () => { await gate.pass() }))
    const { dispatcher, ready } = await swarm.connect({ patienceMs: 5_000 })
    await ready()
    const batch = batchOf(0, MODEL.hiddenSize, [[1, 2]])
    const before = dispatcher.dispatch(batch)
    await gate.arrived(1)
    const replica = await swarm.peer(slice(0, 8), new FakeCompute())
    await swarm.sessions([replica])
    const stopped = stopping.serving.stop()
    const after = await dispatcher.dispatch(batch)
    gate.open()
    await stopped
    assert.deepEqual((await before).sum, expectedSum(batch))
    assert.deepEqual(after.sum, expectedSum(batch))
    assert.equal(stopping.serving.counters.requests, 1)
    assert.equal(replica.serving.counters.requests, 1)
  })

  it('is not planned with while it cannot compute, and is found again', async () => {
    const compute = new FakeCompute()
    const peer = await swarm.peer(slice(0, 8), compute)
    const { dispatcher, ready, coverage } = await swarm.connect({ patienceMs: 10_000, manifestIntervalMs: 200 })
    await ready()
    peer.serving.setAvailable(false)
    const inspector = new SwarmInspector(await swarm.join('client'))
    const seen = async (): Promise<number[]> => (await inspector.peers(MODEL.modelId)).map(({ manifest }) => manifest?.blocks.length ?? -1)
    while ((await seen())[0] !== 0) { /* a manifest is signed at most twice a second */ }
    while (coverage().some(({ replicas }) => replicas.some(count => count > 0))) await new Promise(resolve => { setTimeout(resolve, 50) })
    const batch = batchOf(0, MODEL.hiddenSize, [[1, 2]])
    const waiting = dispatcher.dispatch(batch)
    peer.serving.setAvailable(true)
    assert.deepEqual((await waiting).sum, expectedSum(batch))
  })

  it('changes its blocks while it serves: clients, records and manifest follow', async () => {
    const moving = await swarm.peer(slice(0, 4), new FakeCompute())
    const { dispatcher, ready, coverage } = await swarm.connect({ patienceMs: 5_000 })
    await swarm.sessions([moving])
    const held = (): number[] => coverage().map(({ replicas }) => replicas.lastIndexOf(1))
    assert.deepEqual(held(), [3, 3])
    await moving.serving.setBlocks([...slice(0, 8)])
    await ready({ timeoutMs: 5_000 })
    const batch = batchOf(1, MODEL.hiddenSize, [[1, 7]])
    assert.deepEqual((await dispatcher.dispatch(batch)).sum, expectedSum(batch))
    const inspector = new SwarmInspector(await swarm.join('client'))
    const named = async (layer: number): Promise<boolean> => (await inspector.providers(MODEL.modelId, layer)).some(({ peerId, manifest }) => peerId === moving.host.peerId && manifest != null)
    assert.equal(await named(1), true)
    await moving.serving.setBlocks([{ layer: 0, firstExpert: 0, experts: 8 }])
    await assert.rejects(dispatcher.dispatch(batch), error => isSwarmError(error, 'experts-unavailable'))
    await assert.rejects(moving.serving.setBlocks([]), error => isSwarmError(error, 'bad-argument'))
  })
})
