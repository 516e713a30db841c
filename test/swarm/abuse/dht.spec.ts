import assert from 'node:assert/strict'
import { once } from 'node:events'
import { generateKeyPair } from '@libp2p/crypto/keys'
import type { PeerId, Stream } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { Key } from 'interface-datastore'
import { KAD_PROTOCOL } from '../../../swarm/constants.js'
import { rememberAddresses } from '../../../swarm/dht/addresses.js'
import { BoundedDatastore } from '../../../swarm/dht/bounded-datastore.js'
import { layerKey } from '../../../swarm/dht/keys.js'
import { findProviders } from '../../../swarm/dht/providers.js'
import type { SwarmHost } from '../../../swarm/host.js'
import { newGuardCounters, peerLimits } from '../../../swarm/limits.js'
import { MODEL } from '../fixtures/swarms.js'
import { Fortress, until } from './fortress.js'

/** Fields of a protobuf that are bytes; of the DHT's message: 2 key, 3 record, 9 provider { 1 id, 2 address }. */
function field (number: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([varint(number << 3 | 2), varint(bytes.byteLength), bytes])
}

function varint (value: number): Buffer {
  const bytes: number[] = []
  for (; value > 0x7f; value >>>= 7) bytes.push((value & 0x7f) | 0x80)
  return Buffer.from([...bytes, value])
}

const PUT_VALUE = 0
const ADD_PROVIDER = 2
const PING = 5

function message (type: number, ...fields: Buffer[]): Buffer {
  const body = Buffer.concat([Buffer.from([1 << 3, type]), ...fields])
  return Buffer.concat([varint(body.byteLength), body])
}

function provider (id: PeerId, addresses: string[]): Buffer {
  return field(9, Buffer.concat([field(1, id.toMultihash().bytes), ...addresses.map(address => field(2, multiaddr(address).bytes))]))
}

describe('the DHT of a peer', () => {
  const fortress = new Fortress()
  afterEach(async () => { await fortress.stop() })
  const counters = () => fortress.host.counters.dht
  const dhtStream = async (attacker: SwarmHost): Promise<Stream> => await (await fortress.connectionOf(attacker)).newStream(KAD_PROTOCOL)
  const providersOf = async (layer: number): Promise<string[]> => {
    const found: string[] = []
    for await (const { id } of findProviders(fortress.host.libp2p.services.dht, layerKey(MODEL.modelId, layer), AbortSignal.timeout(10_000))) found.push(id.toString())
    return found
  }

  it('keeps no record that names another peer', async () => {
    await fortress.start({})
    const before = counters().providerRecords
    const attacker = await fortress.attacker()
    const victim = peerIdFromPrivateKey(await generateKeyPair('Ed25519'))
    const stream = await dhtStream(attacker)
    stream.send(message(ADD_PROVIDER, field(2, layerKey(MODEL.modelId, 7).bytes), provider(victim, ['/ip4/192.0.2.1/tcp/1']), provider(attacker.libp2p.peerId, ['/ip4/192.0.2.1/tcp/1'])))
    await until(() => counters().providerRecords === before + 1)
    assert.deepEqual(await providersOf(7), [attacker.peerId])
    await fortress.served()
  })

  it('forgets a record that nobody renews, and keeps its own', async () => {
    await fortress.start({ providerRecordValidityMs: 1_000 })
    const before = counters().providerRecords
    const attacker = await fortress.attacker()
    const stream = await dhtStream(attacker)
    stream.send(message(ADD_PROVIDER, field(2, layerKey(MODEL.modelId, 7).bytes), provider(attacker.libp2p.peerId, ['/ip4/192.0.2.1/tcp/1'])))
    await until(() => counters().providerRecords === before + 1)
    assert.deepEqual(await providersOf(7), [attacker.peerId])
    await until(() => counters().providerRecords === before)
    assert.deepEqual(await providersOf(7), [])
    assert.deepEqual(await providersOf(0), [fortress.host.peerId])
    await fortress.served()
  })

  it('keeps no values, whoever signed them', async () => {
    await fortress.start({})
    const attacker = await fortress.attacker()
    // The one kind of value that kad-dht takes by itself: a public key under its own hash.
    const name = Buffer.concat([Buffer.from('/pk/'), attacker.libp2p.peerId.toMultihash().bytes])
    const key = Buffer.from(attacker.libp2p.peerId.publicKey?.raw ?? [])
    const record = Buffer.concat([field(1, name), field(2, Buffer.concat([Buffer.from([8, 1]), field(2, key)])), field(5, Buffer.from('2026-01-01T00:00:00.000Z'))])
    const stream = await dhtStream(attacker)
    const gone = once(stream as unknown as EventTarget, 'close')
    stream.send(message(PUT_VALUE, field(2, name), field(3, record)))
    await gone
    await fortress.served()
  })

  it('keeps no more records of a peer than it may have, and all of an honest one', async () => {
    await fortress.start({ maxProviderRecordsPerPeer: 5 })
    const attacker = await fortress.attacker()
    await fortress.connectionOf(attacker)
    const before = counters().providerRecords
    for (let layer = 100; layer < 110; layer++) {
      const stream = await dhtStreamOn(attacker)
      stream.send(message(ADD_PROVIDER, field(2, layerKey(MODEL.modelId, layer).bytes), provider(attacker.libp2p.peerId, ['/ip4/192.0.2.1/tcp/1'])))
    }
    await until(() => counters().recordsRefused === 5)
    assert.equal(counters().providerRecords, before + 5)
    await fortress.served()
    async function dhtStreamOn (host: SwarmHost): Promise<Stream> {
      return await host.libp2p.getConnections()[0].newStream(KAD_PROTOCOL)
    }
  })

  it('keeps few addresses of a peer that names thousands', async () => {
    await fortress.start({})
    const attacker = await fortress.attacker()
    const stream = await dhtStream(attacker)
    const addresses = Array.from({ length: 2_000 }, (_, at) => `/ip4/10.0.${at >> 8}.${at & 255}/tcp/4001`)
    stream.send(message(ADD_PROVIDER, field(2, layerKey(MODEL.modelId, 7).bytes), provider(attacker.libp2p.peerId, addresses)))
    await until(() => counters().providerRecords > 3)
    const known = async (): Promise<number> => (await fortress.host.libp2p.peerStore.get(attacker.libp2p.peerId)).addresses.length
    await fortress.served()
    assert.ok(await known() <= 16, `${await known()} addresses`)
  })

  it('cuts who sends more messages than it may, and answers others', async () => {
    await fortress.start({ dhtMessagesPerSecondPerPeer: 10 })
    const attacker = await fortress.attacker()
    const stream = await dhtStream(attacker)
    const gone = once(stream as unknown as EventTarget, 'close')
    const flood = setInterval(() => { for (let n = 0; n < 20 && stream.status === 'open'; n++) stream.send(message(PING)) }, 5)
    await gone
    clearInterval(flood)
    assert.ok(counters().messagesRefused >= 1)
    const honest = await fortress.hosts.start({ bootstrap: [fortress.host.addresses[0]] })
    const found: string[] = []
    for await (const { id } of findProviders(honest.libp2p.services.dht, layerKey(MODEL.modelId, 0), AbortSignal.timeout(10_000))) found.push(id.toString())
    assert.deepEqual(found, [fortress.host.peerId])
    await fortress.served()
  })

  it('takes no more messages in all than allowed, from however many', async () => {
    await fortress.start({ dhtMessagesPerSecond: 10 })
    const streams = [await dhtStream(await fortress.attacker()), await dhtStream(await fortress.attacker()), await dhtStream(await fortress.attacker())]
    const flood = setInterval(() => { for (const stream of streams) if (stream.status === 'open') stream.send(message(PING)) }, 5)
    // None of them has sent more than one peer may. That it is cut off comes to an attacker a moment after it was counted.
    await until(() => streams.every(({ status }) => status !== 'open'))
    clearInterval(flood)
    assert.ok(counters().messagesRefused >= streams.length)
    await fortress.served()
  })

  it('cuts who sends one message without end', async () => {
    await fortress.start({ dhtMessagesPerSecondPerPeer: 10 })
    const stream = await dhtStream(await fortress.attacker())
    const gone = once(stream as unknown as EventTarget, 'close')
    stream.send(Buffer.concat([varint(3 * 1024 * 1024), Buffer.alloc(200_000)]))
    await gone
    assert.ok(counters().messagesRefused >= 1)
    await fortress.served()
  })
})

describe('the memory of the DHT', () => {
  const record = (multihash: string, peer: string): Key => new Key(`/dht/provider/${multihash}/${peer}`)
  const value = Uint8Array.of(1)
  const storeOf = (limits: Parameters<typeof peerLimits>[0]) => {
    const counters = newGuardCounters().dht
    return { counters, store: new BoundedDatastore(peerLimits(limits), counters, 'self') }
  }
  const named = async (store: BoundedDatastore, prefix: string): Promise<string[]> => {
    const names: string[] = []
    for await (const { key } of store.query({ prefix })) names.push(key.toString())
    return names
  }

  it('gives back what was put, by key, by multihash and in all', async () => {
    const { store, counters } = storeOf({})
    store.put(record('a', 'x'), value)
    store.put(record('a', 'y'), value)
    store.put(record('b', 'x'), value)
    store.put(new Key('/peers/p'), value)
    store.put(new Key('/other/o'), value)
    assert.deepEqual(await named(store, '/dht/provider/a'), ['/dht/provider/a/x', '/dht/provider/a/y'])
    assert.equal((await named(store, '/dht/provider')).length, 3)
    assert.deepEqual(await named(store, '/peers'), ['/peers/p'])
    assert.equal(await store.get(record('b', 'x')), value)
    assert.equal(await store.has(record('b', 'y')), false)
    store.delete(record('a', 'x'))
    assert.deepEqual(await named(store, '/dht/provider/a'), ['/dht/provider/a/y'])
    assert.deepEqual([counters.providerRecords, counters.knownPeers], [2, 1])
  })

  it('gives up the oldest record of a full key, never our own', async () => {
    const { store, counters } = storeOf({ maxProviderRecordsPerKey: 3 })
    for (const peer of ['self', 'a', 'b', 'c', 'd']) store.put(record('k', peer), value)
    assert.deepEqual(await named(store, '/dht/provider/k'), ['/dht/provider/k/self', '/dht/provider/k/c', '/dht/provider/k/d'])
    assert.equal(counters.recordsRefused, 2)
  })

  it('gives up the records of who has most when it is full', async () => {
    const { store } = storeOf({ maxProviderRecords: 10 })
    for (const layer of [1, 2]) store.put(record(`l${layer}`, 'honest'), value)
    for (let at = 0; at < 50; at++) store.put(record(`k${at}`, 'flooder'), value)
    assert.equal((await named(store, '/dht/provider')).length, 10)
    assert.equal((await named(store, '/dht/provider/l1')).length + (await named(store, '/dht/provider/l2')).length, 2)
  })

  it('gives up the peer that was not used for longest', async () => {
    const { store } = storeOf({ maxKnownPeers: 3 })
    for (const peer of ['a', 'b', 'c']) store.put(new Key(`/peers/${peer}`), value)
    await store.get(new Key('/peers/a'))
    store.put(new Key('/peers/d'), value)
    assert.deepEqual((await named(store, '/peers')).sort(), ['/peers/a', '/peers/c', '/peers/d'])
  })

  it('keeps no peer entry without end', () => {
    assert.throws(() => storeOf({}).store.put(new Key('/peers/a'), new Uint8Array(20_000)), RangeError)
  })

  it('lets what a peer says last take the place of what others said', async () => {
    const fortress = new Fortress()
    const host = await fortress.hosts.start()
    const id = peerIdFromPrivateKey(await generateKeyPair('Ed25519'))
    for (let at = 0; at < 10; at++) {
      await rememberAddresses(host.libp2p.peerStore, id, Array.from({ length: 5 }, (_, n) => multiaddr(`/ip4/10.0.${at}.${n}/tcp/1`)))
    }
    const known = (await host.libp2p.peerStore.get(id)).addresses.map(({ multiaddr: address }) => address.toString())
    assert.ok(known.length <= 16 && known.includes('/ip4/10.0.9.0/tcp/1'), known.join(' '))
    await fortress.hosts.stopAll()
  })
})
