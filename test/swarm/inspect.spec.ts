import assert from 'node:assert/strict'
import { isSwarmError } from '../../swarm/errors.js'
import { SwarmInspector, type LookupHop } from '../../swarm/inspect.js'
import { layerKey } from '../../swarm/dht/keys.js'
import { FakeCompute } from './fixtures/fake-compute.js'
import { MODEL, slice, TestSwarm } from './fixtures/swarms.js'

describe('swarm inspector', () => {
  const swarm = new TestSwarm()
  afterEach(async () => { await swarm.stop() })

  const inspector = async (): Promise<SwarmInspector> => new SwarmInspector(await swarm.join('client'))
  const hops = async (lookup: AsyncIterable<LookupHop>): Promise<LookupHop[]> => {
    const list: LookupHop[] = []
    for await (const hop of lookup) list.push(hop)
    return list
  }

  it('shows who serves a model', async () => {
    const { host } = await swarm.peer(slice(2, 4), new FakeCompute())
    const [peer, ...others] = await (await inspector()).peers(MODEL.modelId)
    assert.equal(others.length, 0)
    assert.equal(peer.peerId, host.peerId)
    assert.ok(peer.addresses.some(address => host.addresses[0].startsWith(address)))
    assert.ok(peer.latencyMs != null && peer.latencyMs >= 0)
    const { ageMs, ...manifest } = peer.manifest ?? assert.fail('no manifest')
    assert.ok(ageMs < 10_000)
    assert.deepEqual(manifest, { modelId: MODEL.modelId, blocks: slice(2, 4), version: 'test/1', capacity: 1, load: 0 })
    assert.deepEqual(await (await inspector()).peers('00'.repeat(32)), [])
  })

  it('shows whom a client here would ask, and why not the others', async () => {
    await swarm.join()
    const all = await Promise.all([swarm.peer(slice(0, 8), new FakeCompute()), swarm.peer(slice(0, 8), new FakeCompute())])
    const [first, second] = await (await inspector()).peers(MODEL.modelId)
    assert.deepEqual([first.peerId, second.peerId].sort(), all.map(({ host }) => host.peerId).sort())
    for (const { latencyMs, deviationMs, expectedMs } of [first, second]) assert.ok(latencyMs != null && deviationMs != null && expectedMs != null && expectedMs > latencyMs)
    const [near, far] = (first.expectedMs ?? 0) <= (second.expectedMs ?? 0) ? [first, second] : [second, first]
    assert.deepEqual(near.plan, [{ layer: 0, reason: 'whole' }, { layer: 1, reason: 'whole' }])
    assert.deepEqual(far.plan?.map(({ layer }) => layer), [0, 1])
    assert.ok(far.plan?.every(({ reason }) => reason === 'slower' || reason === 'spare'))
  })

  it('shows the coverage, and its loss when a host stops', async () => {
    await swarm.join()
    const low = await swarm.peer(slice(0, 4), new FakeCompute())
    const high = await swarm.peer(slice(4, 4), new FakeCompute())
    const whole = await swarm.peer([{ layer: 0, firstExpert: 0, experts: 8 }], new FakeCompute())
    const look = await inspector()
    const replicas = async (): Promise<number[]> => (await look.coverage(MODEL.modelId, { expected: [...slice(0, 4), ...slice(4, 4)] })).map(({ peers }) => peers.length)
    assert.deepEqual(await replicas(), [2, 2, 1, 1])
    assert.deepEqual((await look.coverage(MODEL.modelId))[0].peers, [low.host.peerId, whole.host.peerId].sort())
    await high.host.stop()
    assert.deepEqual(await replicas(), [2, 1, 1, 0])
    const gone = (await look.providers(MODEL.modelId, 1)).find(({ peerId }) => peerId === high.host.peerId)
    assert.equal(gone?.failure, 'unreachable', 'the record is still there, the peer is not')
  })

  it('shows the providers of a layer', async () => {
    await swarm.peer([{ layer: 0, firstExpert: 0, experts: 8 }], new FakeCompute())
    const second = await swarm.peer([{ layer: 1, firstExpert: 0, experts: 8 }], new FakeCompute())
    const look = await inspector()
    assert.deepEqual((await look.providers(MODEL.modelId, 1)).map(({ peerId, failure }) => [peerId, failure]), [[second.host.peerId, undefined]])
  })

  it('asks the hosts which models they serve', async () => {
    await swarm.peer(slice(0, 8), new FakeCompute())
    assert.deepEqual(await (await inspector()).models(), [MODEL.modelId])
  })

  it('shows the k-buckets', async () => {
    const { host } = await swarm.peer(slice(0, 8), new FakeCompute())
    const buckets = (await inspector()).routingTable()
    assert.deepEqual(buckets.flatMap(({ peers }) => peers.map(({ peerId }) => peerId)), [host.peerId])
  })

  it('shows the path to a peer, a CID and a layer', async () => {
    await swarm.join()
    const { host } = await swarm.peer(slice(0, 8), new FakeCompute())
    const look = await inspector()
    const found = (list: LookupHop[]): string[] => list.flatMap(hop => hop.kind === 'found' ? (hop.peers ?? []).map(({ peerId }) => peerId) : [])
    for (const target of [host.peerId, layerKey(MODEL.modelId, 0).toString(), { modelId: MODEL.modelId, layer: 0 }]) {
      const path = await hops(look.lookup(target))
      assert.ok(found(path).includes(host.peerId), JSON.stringify(path))
      assert.ok(path.every((hop, at) => at === 0 || hop.atMs >= path[at - 1].atMs))
    }
    await assert.rejects(hops(look.lookup('nonsense')), error => isSwarmError(error, 'bad-argument'))
  })
})
