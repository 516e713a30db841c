import assert from 'node:assert/strict'
import { randomFillSync } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { PeerId } from '@libp2p/interface'
import * as lp from 'it-length-prefixed'
import type { CID } from 'multiformats/cid'
import { SwarmClient, type SwarmErrorCode, type SwarmEvent } from '../../node/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { freePort } from '../../scripts/peer-process.js'
import { WanProxy } from '../../scripts/wan-proxy/index.js'
import { MANIFEST_PROTOCOL } from '../../swarm/constants.js'
import { layerKey, modelKey } from '../../swarm/dht/keys.js'
import { findProviders } from '../../swarm/dht/providers.js'
import type { SwarmHost } from '../../swarm/host.js'
import { FaultyPeer, type Garble } from '../fixtures/faulty-peer.js'
import { reference } from '../fixtures/reference.js'
import { TestHosts } from '../swarm/fixtures/hosts.js'

const FAULT_AT_TOKEN = 12
/** The fault comes while a request for this layer is with the peer: in the middle of a token. */
const FAULT_AT_LAYER = 3
const { ids, greedy_ids: expected } = reference.prompts[0]
const GREEDY = { maxTokens: expected.length, stopTokenIds: [], sampling: { temperature: 0, topK: 0, topP: 1, seed: 0 } }

/** Header and half of the rows, under a right length: the prefix of a token's reply has two bytes. */
const halfReply: Garble = framed => lp.encode.single(framed.subarray(2, framed.byteLength >> 1)).subarray()
const notFinite: Garble = framed => { const copy = framed.slice(); copy.fill(0xff, copy.byteLength - 64); return copy }
const tooLong: Garble = () => Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x07)
const noFrames: Garble = () => randomFillSync(new Uint8Array(4096)).fill(0xff, 0, 16)
const unknownKind: Garble = () => lp.encode.single(new Uint8Array(64).fill(0xee)).subarray()

describe('a swarm of which the peer in use fails in the middle of a token', function () {
  this.timeout(60_000)
  const hosts = new TestHosts()
  const proxies: WanProxy[] = []
  const peers: FaultyPeer[] = []
  const events: SwarmEvent[] = []
  let model: string
  let first: SwarmHost

  before(async () => { model = await demoBundle('f32') })
  /** Two replicas of everything, each reached through a link of its own. */
  beforeEach(async () => {
    first = await hosts.start()
    for (let i = 0; i < 2; i++) {
      const port = await freePort()
      const proxy = await WanProxy.listen({ to: { host: '127.0.0.1', port } })
      proxies.push(proxy)
      const host = await hosts.start({ listen: [`/ip4/127.0.0.1/tcp/${port}`], announce: [`/ip4/127.0.0.1/tcp/${proxy.port}`], bootstrap: first.addresses })
      peers.push(await FaultyPeer.start(host, model))
    }
  })
  afterEach(async () => {
    events.length = 0
    await hosts.stopAll()
    await Promise.all(peers.splice(0).map(async peer => { await peer.stop() }))
    await Promise.all(proxies.splice(0).map(async proxy => { await proxy.close() }))
  })

  /** Nothing is computed here, and nobody else than who was planned is asked: whom the fault meets is the one in use. */
  const open = async (): Promise<SwarmClient> => {
    const client = await SwarmClient.open({
      model, bootstrap: proxies.map(({ port }, i) => `/ip4/127.0.0.1/tcp/${port}/p2p/${peers[i].host.peerId}`), wire: 'fp32', threads: 1, draft: 'none', audit: 0, copyMemory: 0,
      onEvent: event => { events.push(event) }
    })
    while (client.coverage().some(({ replicas }) => replicas.some(count => count < 2))) await sleep(20)
    return client
  }

  /** Breaks whoever is asked for FAULT_AT_LAYER next, and returns who that was; the text must be as without. `thenUntil` holds the generation up once the token is there. */
  const brokenAt = async (client: SwarmClient, fault: (inUse: FaultyPeer, proxy: WanProxy) => void, thenUntil = async (_broken: FaultyPeer): Promise<void> => {}): Promise<{ broken: FaultyPeer, other: FaultyPeer, otherBefore: number }> => {
    const tokens: number[] = []
    let broken: FaultyPeer | undefined
    let otherBefore = 0
    const other = (): FaultyPeer => peers.find(peer => peer !== broken)!
    for await (const event of client.generate(ids, GREEDY)) {
      if (event.type !== 'token') continue
      tokens.push(event.id)
      if (tokens.length === FAULT_AT_TOKEN) {
        assert.deepEqual(events.filter(({ type }) => type === 'request-failed'), [], 'all was well before')
        for (const [i, peer] of peers.entries()) {
          peer.onRequest = ({ layer }) => {
            if (layer !== FAULT_AT_LAYER || (broken !== undefined && broken !== peer)) return
            broken = peer
            otherBefore = other().requests
            for (const each of peers) each.onRequest = () => {}
            fault(peer, proxies[i])
          }
        }
      }
      if (tokens.length === FAULT_AT_TOKEN + 2) await thenUntil(broken!)
    }
    assert.deepEqual(tokens, expected)
    assert.deepEqual(events.filter(({ type }) => type === 'experts-waiting'), [], 'a replica was there all the time')
    return { broken: broken!, other: other(), otherBefore }
  }

  const FAULTS: Array<{ what: string, code: SwarmErrorCode, fault: (inUse: FaultyPeer, proxy: WanProxy) => void }> = [
    { what: 'is cut off', code: 'peer-gone', fault: (_peer, proxy) => { proxy.cut({ refuse: true }) } },
    { what: 'answers busy', code: 'busy', fault: peer => { peer.busy = true } },
    { what: 'answers half a reply', code: 'malformed', fault: peer => { peer.garble(halfReply) } },
    { what: 'answers values that are not finite', code: 'malformed', fault: peer => { peer.garble(notFinite) } },
    { what: 'answers frames of no known kind', code: 'malformed', fault: peer => { peer.garble(unknownKind) } },
    { what: 'answers bytes that are no frames', code: 'malformed', fault: peer => { peer.garble(noFrames) } },
    { what: 'announces a frame of 2 GiB', code: 'too-large', fault: peer => { peer.garble(tooLong) } }
  ]
  for (const { what, code, fault } of FAULTS) {
    it(`gives the text of this machine alone when it ${what}`, async () => {
      const client = await open()
      try {
        const { broken, other, otherBefore } = await brokenAt(client, fault)
        const { requests, failures } = client.peers().find(({ peerId }) => peerId === broken.host.peerId)!
        assert.ok(requests > 0, 'it had served before')
        if (code !== 'busy') assert.ok(failures > 0)
        const [first] = events.filter(event => event.type === 'request-failed')
        assert.deepEqual([first.peerId, first.layer, first.code], [broken.host.peerId, FAULT_AT_LAYER, code])
        assert.ok(other.requests > otherBefore, 'the replica went on')
      } finally {
        await client.close()
      }
    })
  }

  it('gives it when that peer is removed from the DHT and signs no manifest any more, while its connection lives', async () => {
    const keys = (client: SwarmClient): CID[] => [modelKey(client.bundle.id), ...client.config.layerTypes.map((_type, layer) => layerKey(client.bundle.id, layer))]
    const providersOf = async (key: CID): Promise<string[]> => {
      const found: string[] = []
      for await (const { id } of findProviders(first.libp2p.services.dht, key, AbortSignal.timeout(5_000))) found.push(id.toString())
      return found
    }
    const client = await open()
    try {
      let removing: Promise<void> | undefined
      let lastRequests = 0
      const { broken, other, otherBefore } = await brokenAt(client, peer => {
        const { libp2p, peerId } = peer.host
        removing = (async () => {
          await libp2p.unhandle(MANIFEST_PROTOCOL)
          for (const key of keys(client)) {
            await libp2p.services.dht.cancelReprovide(key)
            for (const host of [first, ...peers.map(({ host }) => host)]) await recordsOf(host).removeProvider(key, libp2p.peerId)
          }
          assert.equal((await providersOf(modelKey(client.bundle.id))).includes(peerId), false, 'no record names it')
        })()
      }, async ({ host: { peerId, libp2p } }) => {
        await removing
        assert.deepEqual(events.filter(({ type }) => type === 'request-failed' || type === 'peer-lost'), [], 'the token under way was served')
        while (!events.some(event => event.type === 'peer-lost' && event.peerId === peerId)) await sleep(50)
        assert.ok(libp2p.getConnections().length > 0)
        lastRequests = peers.find(peer => peer.host.peerId === peerId)!.requests
      })
      assert.equal(broken.requests, lastRequests, 'it is asked nothing more')
      assert.ok(other.requests > otherBefore, 'the replica went on')
      assert.deepEqual(events.flatMap(event => event.type === 'peer-lost' ? [[event.peerId, event.reason]] : []), [[broken.host.peerId, 'missed-manifests']])
    } finally {
      await client.close()
    }
  })
})

/** A DHT server's provider records, those of strangers too: nothing in its interface removes one. */
function recordsOf ({ libp2p: { services: { dht } } }: SwarmHost): { removeProvider: (key: CID, provider: PeerId) => Promise<void> } {
  return (dht as unknown as { providers: { removeProvider: (key: CID, provider: PeerId) => Promise<void> } }).providers
}
