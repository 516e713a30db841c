import assert from 'node:assert/strict'
import * as lp from 'it-length-prefixed'
import { MANIFEST_CLOCK_SKEW_MS, MANIFEST_MAX_BYTES, MANIFEST_PROTOCOL } from '../../../swarm/constants.js'
import { modelKey } from '../../../swarm/dht/keys.js'
import { sealManifest, type PeerManifest } from '../../../swarm/directory/manifest.js'
import type { SwarmErrorCode } from '../../../swarm/errors.js'
import type { SwarmHost } from '../../../swarm/host.js'
import { serveExperts } from '../../../swarm/peer.js'
import { FakeCompute } from '../fixtures/fake-compute.js'
import { LAYERS, MODEL, slice, TestSwarm } from '../fixtures/swarms.js'

describe('peer directory', () => {
  const swarm = new TestSwarm()
  afterEach(async () => { await swarm.stop() })

  const live = async (peerId: string): Promise<void> => { await swarm.event(event => event.type === 'peer-live' && event.peerId === peerId) }
  const lost = async (peerId: string, reason: string): Promise<void> => { await swarm.event(event => event.type === 'peer-lost' && event.peerId === peerId && event.reason === reason) }

  it('finds peers that it has never met through the DHT', async () => {
    await swarm.join()
    const peers = [await swarm.peer(slice(0, 8), new FakeCompute()), await swarm.peer(slice(0, 4), new FakeCompute())]
    const { directory } = await swarm.connect()
    await Promise.all(peers.map(async ({ host }) => { await live(host.peerId) }))
    assert.deepEqual(directory.live.map(({ peerId }) => peerId).sort(), peers.map(({ host }) => host.peerId).sort())
    assert.deepEqual(directory.live.find(({ peerId }) => peerId === peers[1].host.peerId)?.manifest.blocks, slice(0, 4))
  })

  it('drops a peer whose connection ends, and takes it back when it returns', async () => {
    await swarm.join()
    const { host } = await swarm.peer(slice(0, 8), new FakeCompute())
    const { directory } = await swarm.connect()
    await live(host.peerId)
    await host.stop()
    await lost(host.peerId, 'disconnected')
    assert.equal(directory.live.length, 0)
    swarm.events.length = 0
    const again = await swarm.hosts.start({ privateKey: host.privateKey, bootstrap: [swarm.bootstrapAddress.toString()] })
    await serveExperts({ ...MODEL, host: again, layers: LAYERS, blocks: slice(0, 8), compute: new FakeCompute(), version: 'test/1' })
    await live(again.peerId)
  })

  it('drops a peer after two missed manifests', async () => {
    const { host } = await swarm.peer(slice(0, 8), new FakeCompute())
    await swarm.connect()
    await live(host.peerId)
    await host.libp2p.unhandle(MANIFEST_PROTOCOL)
    await lost(host.peerId, 'missed-manifests')
  })

  it('leaves out a peer of another model', async () => {
    const other = await swarm.peer(slice(0, 8), new FakeCompute(), '00'.repeat(32))
    const { directory } = await swarm.connect()
    await swarm.event(event => event.type === 'peer-refused' && event.peerId === other.host.peerId && event.code === 'wrong-model')
    assert.equal(directory.live.length, 0)
  })

  it('keeps no more peers than its cap', async () => {
    for (let at = 0; at < 3; at++) await swarm.peer(slice(0, 8), new FakeCompute())
    const { directory, ready } = await swarm.connect({ maxLivePeers: 2 })
    await ready()
    await directory.refresh()
    assert.ok(directory.live.length <= 2)
  })

  it('makes room for a peer that holds what nobody else does', async () => {
    for (let at = 0; at < 2; at++) await swarm.peer(slice(0, 4), new FakeCompute())
    const { ready } = await swarm.connect({ maxLivePeers: 2 })
    await swarm.peer(slice(4, 4), new FakeCompute())
    await ready()
  })

  describe('a hostile peer', () => {
    const manifest = (sequence = Date.now(), issuedAtMs = Date.now()): PeerManifest => ({
      modelId: MODEL.modelId, blocks: slice(0, 8), intended: [], fetching: [], wires: ['fp32'], version: 'evil/1', capacity: 1, load: 0, sequence, issuedAtMs, ttlMs: 10_000
    })
    /** Answers the manifest protocol with these bytes, and says on the DHT that it serves the model. */
    const pretend = async (answer: (host: SwarmHost) => Promise<Uint8Array>): Promise<SwarmHost> => {
      const host = await swarm.join()
      await host.libp2p.handle(MANIFEST_PROTOCOL, async stream => {
        stream.send(await answer(host))
        await stream.close()
      })
      for await (const event of host.libp2p.services.dht.provide(modelKey(MODEL.modelId))) void event
      return host
    }

    const forgeries: Array<{ id: string, answer: (host: SwarmHost, honest: SwarmHost) => Promise<Uint8Array>, code: SwarmErrorCode }> = [
      { id: 'a manifest that another peer signed', answer: async (_host, honest) => lp.encode.single(await sealManifest(manifest(), honest.privateKey)).subarray(), code: 'untrusted-manifest' },
      { id: 'a manifest with a changed byte', answer: async host => { const sealed = await sealManifest(manifest(), host.privateKey); sealed[sealed.length >> 1] ^= 0x40; return lp.encode.single(sealed).subarray() }, code: 'untrusted-manifest' },
      { id: 'a manifest that is too long', answer: async () => lp.encode.single(new Uint8Array(MANIFEST_MAX_BYTES + 1)).subarray(), code: 'too-large' },
      { id: 'bytes that are no envelope', answer: async () => lp.encode.single(Uint8Array.of(1, 2, 3)).subarray(), code: 'untrusted-manifest' },
      { id: 'a manifest that has expired', answer: async host => lp.encode.single(await sealManifest(manifest(1, Date.now() - 20_000 - MANIFEST_CLOCK_SKEW_MS), host.privateKey)).subarray(), code: 'untrusted-manifest' },
      { id: 'a manifest of a time that is yet to come', answer: async host => lp.encode.single(await sealManifest(manifest(1, Date.now() + 60_000 + MANIFEST_CLOCK_SKEW_MS), host.privateKey)).subarray(), code: 'untrusted-manifest' },
      { id: 'experts that the model does not have', answer: async host => lp.encode.single(await sealManifest({ ...manifest(), blocks: slice(0, 9) }, host.privateKey)).subarray(), code: 'malformed' }
    ]
    for (const { id, answer, code } of forgeries) {
      it(`that answers with ${id} is refused`, async () => {
        const honest = await swarm.join()
        const evil = await pretend(async host => await answer(host, honest))
        const { directory } = await swarm.connect()
        await swarm.event(event => event.type === 'peer-refused' && event.peerId === evil.peerId && event.code === code)
        assert.equal(directory.live.length, 0)
      })
    }

    it('whose sequence goes back is dropped', async () => {
      let sequence = Date.now()
      const evil = await pretend(async host => lp.encode.single(await sealManifest(manifest(sequence--), host.privateKey)).subarray())
      const { directory } = await swarm.connect()
      await live(evil.peerId)
      await lost(evil.peerId, 'untrusted-manifest')
      assert.equal(directory.live.length, 0)
    })
  })
})
