import assert from 'node:assert/strict'
import { isSwarmError, SwarmError } from '../../../swarm/errors.js'
import type { ExpertBatch } from '../../../swarm/interface.js'
import { batchOf } from '../fixtures/batches.js'
import { expectedSum, FakeCompute } from '../fixtures/fake-compute.js'
import { Gate } from '../fixtures/gate.js'
import { LAYERS, MODEL, slice, TestSwarm } from '../fixtures/swarms.js'

const BATCH = batchOf(1, MODEL.hiddenSize, [[0, 7], [], [3, 4, 5]])

function assertSum (sum: Float32Array, batch: ExpertBatch): void {
  const expected = expectedSum(batch)
  assert.equal(sum.length, expected.length)
  sum.forEach((value, i) => { assert.ok(Math.abs(value - expected[i]) <= 1e-5, `${value} for ${expected[i]}`) })
}

describe('dispatching to a swarm', () => {
  const swarm = new TestSwarm()
  afterEach(async () => { await swarm.stop() })

  it('adds up what overlapping peers answer', async () => {
    const peers = []
    for (const first of [0, 2, 4]) peers.push(await swarm.peer(slice(first, 4), new FakeCompute()))
    const { dispatcher, ready, coverage } = await swarm.connect()
    await ready()
    await swarm.sessions(peers)
    assert.deepEqual(coverage()[1], { layer: 1, replicas: [1, 1, 2, 2, 2, 2, 1, 1] })
    const { sum, timing } = await dispatcher.dispatch(BATCH)
    assertSum(sum, BATCH)
    assert.ok(timing.networkMs > 0 && timing.encodeMs > 0 && timing.serviceMs === 0.02)
    assert.deepEqual((await dispatcher.dispatch(BATCH)).sum.length, sum.length)
    const stats = dispatcher.peerStats()
    assert.ok(stats.length >= 2)
    assert.ok(stats.every(({ layers, failures, latencyMs }) => layers.join() === '1' && failures === 0 && latencyMs > 0))
  })

  it('knows that peers of this machine share its cores, once they have answered as fast', async function () {
    this.timeout(30_000)
    await swarm.peer(slice(0, 8), new FakeCompute())
    const { dispatcher, ready } = await swarm.connect()
    assert.equal(dispatcher.sharesCores(1), false, 'nobody is there yet')
    await ready()
    while (!dispatcher.sharesCores(1)) await dispatcher.dispatch(BATCH)
    assert.equal(dispatcher.sharesCores(LAYERS), false, 'a layer that nobody holds')
  })

  it('sends a batch to one peer when one has all of it', async () => {
    const whole = new FakeCompute()
    await swarm.peer(slice(0, 8), whole)
    const { dispatcher, ready } = await swarm.connect()
    await ready()
    assertSum((await dispatcher.dispatch(BATCH)).sum, BATCH)
    assert.equal(whole.batches.length, 1)
  })

  it('splits a batch that is larger than a frame', async () => {
    const compute = new FakeCompute()
    await swarm.peer(slice(0, 8), compute)
    const { dispatcher, ready } = await swarm.connect()
    await ready()
    const large = batchOf(0, MODEL.hiddenSize, Array.from({ length: 2_500 }, (_, t) => [t % 8]))
    assertSum((await dispatcher.dispatch(large)).sum, large)
    assert.equal(compute.batches.length, 3)
  })

  it('answers a batch that needs nobody', async () => {
    const { dispatcher } = await swarm.connect()
    assert.deepEqual((await dispatcher.dispatch(batchOf(0, MODEL.hiddenSize, [[], []]))).sum, new Float32Array(2 * MODEL.hiddenSize))
  })

  it('gives what a stopped peer owes to a replica', async () => {
    const gates = [new Gate(), new Gate()]
    const peers = [
      await swarm.peer(slice(0, 8), new FakeCompute(async () => { await gates[0].pass() })),
      await swarm.peer(slice(0, 8), new FakeCompute(async () => { await gates[1].pass() }))
    ]
    const { dispatcher, ready } = await swarm.connect()
    await ready()
    await swarm.sessions(peers)
    const result = dispatcher.dispatch(BATCH)
    const asked = await Promise.race([gates[0].arrived(1).then(() => 0), gates[1].arrived(1).then(() => 1)])
    gates[1 - asked].open()
    await peers[asked].host.stop()
    assertSum((await result).sum, BATCH)
    assert.deepEqual(dispatcher.peerStats().map(({ peerId, requests, failures }) => [peerId, requests, failures]), [
      [peers[asked].host.peerId, 0, 1],
      [peers[1 - asked].host.peerId, 1, 0]
    ])
    gates[asked].open()
  })

  for (const { id, refuse } of [
    { id: 'is busy', refuse: new SwarmError('busy', 'The queue is full.', { retryAfterMs: 1_000 }) },
    { id: 'fails to compute', refuse: new Error('broken') }
  ]) {
    it(`asks a replica when a peer ${id}`, async () => {
      const peers = [await swarm.peer(slice(0, 8), new FakeCompute(async () => { throw refuse })), await swarm.peer(slice(0, 4), new FakeCompute()), await swarm.peer(slice(4, 4), new FakeCompute())]
      // The peer with everything is preferred at equal times; whichever is asked first, the answer is the same.
      const { dispatcher, ready } = await swarm.connect()
      await ready()
      await swarm.sessions(peers)
      for (let round = 0; round < 5; round++) assertSum((await dispatcher.dispatch(BATCH)).sum, BATCH)
    })
  }

  it('comes back to a busy peer when nobody else is there', async () => {
    let refusals = 3
    await swarm.peer(slice(0, 8), new FakeCompute(async () => { if (refusals-- > 0) throw new SwarmError('busy', 'The queue is full.', { retryAfterMs: 5 }) }))
    const { dispatcher, ready } = await swarm.connect()
    await ready()
    assertSum((await dispatcher.dispatch(BATCH)).sum, BATCH)
  })

  it('asks a replica when a peer does not answer in time', async () => {
    const stuck = new Gate()
    const peers = [await swarm.peer(slice(0, 8), new FakeCompute(async () => { await stuck.pass() })), await swarm.peer(slice(0, 8), new FakeCompute())]
    const { dispatcher, ready, directory } = await swarm.connect({ hedgeShare: 0 })
    await ready()
    await swarm.sessions(peers)
    // A short history of fast replies makes the deadline short, and the stuck peer the nearest.
    const near = directory.live.find(({ peerId }) => peerId === peers[0].host.peerId)
    for (let i = 0; i < 100; i++) near?.latency.addServed({ networkMs: 0.01, queueMs: 0, serviceMs: 0.01, assignments: 5 })
    assertSum((await dispatcher.dispatch(BATCH)).sum, BATCH)
    assert.ok(swarm.events.some(event => event.type === 'request-failed' && event.code === 'timeout'))
    stuck.open()
  })

  it('names layer and experts when nobody is left', async () => {
    const peer = await swarm.peer(slice(0, 8), new FakeCompute())
    const half = await swarm.peer(slice(0, 4), new FakeCompute())
    const { dispatcher, ready } = await swarm.connect()
    await ready()
    await peer.host.stop()
    await assert.rejects(dispatcher.dispatch(BATCH), error => {
      assert.ok(isSwarmError(error, 'experts-unavailable'))
      assert.deepEqual(error.data, { layer: 1, experts: [4, 5, 7] })
      assert.match(error.message, /experts 4, 5, 7 of layer 1/)
      return true
    })
    assertSum((await dispatcher.dispatch(batchOf(1, MODEL.hiddenSize, [[3]]))).sum, batchOf(1, MODEL.hiddenSize, [[3]]))
    assert.equal(half.serving.counters.failed, 0)
  })

  it('waits for a peer that comes while it is patient', async () => {
    await swarm.peer(slice(0, 4), new FakeCompute())
    const { dispatcher } = await swarm.connect({ patienceMs: 20_000 })
    const result = dispatcher.dispatch(BATCH)
    await swarm.event(event => event.type === 'experts-waiting')
    await swarm.peer(slice(4, 4), new FakeCompute())
    assertSum((await result).sum, BATCH)
  })

  it('stops waiting when the caller cancels', async () => {
    const { dispatcher } = await swarm.connect({ patienceMs: 20_000 })
    const controller = new AbortController()
    const result = dispatcher.dispatch(BATCH, controller.signal)
    controller.abort()
    await assert.rejects(result, error => isSwarmError(error, 'aborted'))
  })

  it('opens a stream again after it broke', async () => {
    const { host } = await swarm.peer(slice(0, 8), new FakeCompute())
    const { dispatcher, ready } = await swarm.connect({ patienceMs: 5_000 })
    await ready()
    for (const connection of host.libp2p.getConnections()) {
      for (const stream of connection.streams) {
        if (stream.protocol.includes('experts')) stream.abort(new Error('cut by the test'))
      }
    }
    await swarm.event(event => event.type === 'session-closed')
    assertSum((await dispatcher.dispatch(BATCH)).sum, BATCH)
  })

  for (const { id, change } of [
    { id: 'another width', change: { hidden: new Float32Array(MODEL.hiddenSize) } },
    { id: 'counts that do not sum up', change: { counts: Uint16Array.of(1, 1, 1) } },
    { id: 'an expert that is not in the model', change: { experts: Uint16Array.of(0, 8, 3, 4, 5) } },
    { id: 'an expert named twice for a token', change: { experts: Uint16Array.of(0, 7, 3, 4, 3) } },
    { id: 'a hidden state that is NaN', change: { hidden: BATCH.hidden.map((value, i) => i === 5 ? NaN : value) } },
    { id: 'a weight that is infinite', change: { weights: BATCH.weights.map(() => Infinity) } }
  ]) {
    it(`refuses a batch with ${id} before anybody is asked`, async () => {
      const { dispatcher } = await swarm.connect()
      await assert.rejects(dispatcher.dispatch({ ...BATCH, ...change }), error => isSwarmError(error, 'bad-argument'))
    })
  }

  it('tells what is not covered', async () => {
    await swarm.peer(slice(0, 7), new FakeCompute())
    const { ready } = await swarm.connect()
    await swarm.event(event => event.type === 'session-open')
    await assert.rejects(ready({ timeoutMs: 50 }), error => {
      assert.ok(isSwarmError(error, 'coverage-incomplete'))
      assert.deepEqual(error.data.missing, [{ layer: 0, experts: [7] }, { layer: 1, experts: [7] }])
      assert.match(error.message, /layer 0 experts 7; layer 1 experts 7/)
      return true
    })
  })
})
