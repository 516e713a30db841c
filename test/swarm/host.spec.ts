import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { tcp } from '@libp2p/tcp'
import { createLibp2p } from 'libp2p'
import { isSwarmError, type SwarmErrorCode } from '../../swarm/errors.js'
import type { SwarmEvent } from '../../swarm/events.js'
import { loadOrCreateKey } from '../../swarm/key-file.js'
import { routingBuckets, routingTableSize } from '../../swarm/dht/routing-table.js'
import { TestHosts } from './fixtures/hosts.js'

async function listening (): Promise<{ server: Server, port: number }> {
  const server = createServer(socket => { socket.destroy() })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return { server, port: typeof address === 'object' && address != null ? address.port : 0 }
}

async function closed (server: Server): Promise<void> {
  await new Promise(resolve => server.close(resolve))
}

function hasCode (code: SwarmErrorCode, text: string) {
  return (error: unknown): boolean => {
    assert.ok(isSwarmError(error, code), `${String(error)} is not ${code}`)
    assert.ok(error.message.includes(text), `"${error.message}" does not name ${text}`)
    return true
  }
}

describe('swarm host', () => {
  const hosts = new TestHosts()
  let folder: string

  beforeEach(async () => { folder = await mkdtemp(join(tmpdir(), 'moeswarm-host-')) })
  afterEach(async () => {
    await hosts.stopAll()
    await rm(folder, { recursive: true })
  })

  it('joins through a bootstrap address and knows a peer when it returns', async () => {
    const first = await hosts.start()
    const second = await hosts.start({ bootstrap: first.addresses })
    const client = await hosts.start({ dht: 'client', bootstrap: [first.addresses[0]] })
    assert.equal(first.addresses[0].endsWith(`/p2p/${first.peerId}`), true)
    assert.equal(client.addresses.length, 0)
    for (const host of [second, client]) assert.ok(routingTableSize(host.libp2p.services.dht) >= 1)
    const known = routingBuckets(second.libp2p.services.dht).flatMap(({ peers }) => peers.map(({ peerId }) => peerId))
    assert.ok(known.includes(first.peerId))
  })

  it('keeps its identity in a key file that only its owner can read', async () => {
    const keyFile = join(folder, 'peer.key')
    const first = await hosts.start({ keyFile })
    await first.stop()
    const second = await hosts.start({ keyFile })
    assert.equal(second.peerId, first.peerId)
    assert.equal((await stat(keyFile)).mode & 0o777, 0o600)
    assert.deepEqual(await readdir(folder), ['peer.key'])
  })

  it('creates one key, however many create it at once', async () => {
    const keyFile = join(folder, 'peer.key')
    const keys = await Promise.all(Array.from({ length: 8 }, async () => await loadOrCreateKey(keyFile)))
    assert.equal(new Set(keys.map(key => key.publicKey.toString())).size, 1)
  })

  it('refuses a key file that holds no key, and leaves it as it is', async () => {
    const keyFile = join(folder, 'peer.key')
    await writeFile(keyFile, 'not a key')
    await assert.rejects(hosts.start({ keyFile }), hasCode('bad-key-file', keyFile))
    assert.equal(await readFile(keyFile, 'utf8'), 'not a key')
  })

  it('refuses a key file in a folder that does not exist', async () => {
    const keyFile = join(folder, 'none', 'peer.key')
    await assert.rejects(hosts.start({ keyFile }), hasCode('bad-key-file', keyFile))
  })

  it('names the address whose port is in use', async () => {
    const { server, port } = await listening()
    const address = `/ip4/127.0.0.1/tcp/${port}`
    await assert.rejects(hosts.start({ listen: ['/ip4/127.0.0.1/tcp/0', address] }), hasCode('port-in-use', address))
    await closed(server)
  })

  it('names an address of another machine', async () => {
    await assert.rejects(hosts.start({ listen: ['/ip4/192.0.2.1/tcp/0'] }), hasCode('cannot-listen', '/ip4/192.0.2.1/tcp/0'))
  })

  it('names what is no multiaddr', async () => {
    await assert.rejects(hosts.start({ listen: ['127.0.0.1:4001'] }), hasCode('bad-address', '127.0.0.1:4001'))
    await assert.rejects(hosts.start({ bootstrap: ['http://example'] }), hasCode('bad-address', 'http://example'))
  })

  it('names the bootstrap addresses when none answers', async () => {
    const { server, port } = await listening()
    await closed(server)
    const address = `/ip4/127.0.0.1/tcp/${port}`
    await assert.rejects(hosts.start({ bootstrap: [address] }), hasCode('unreachable', address))
  })

  it('names a bootstrap address where something else listens', async () => {
    const { server, port } = await listening()
    await assert.rejects(hosts.start({ bootstrap: [`/ip4/127.0.0.1/tcp/${port}`] }), hasCode('unreachable', `tcp/${port}`))
    await closed(server)
  })

  it('warns of a bootstrap address that does not answer while another does', async () => {
    const { server, port } = await listening()
    await closed(server)
    const first = await hosts.start()
    const events: SwarmEvent[] = []
    await hosts.start({ bootstrap: [`/ip4/127.0.0.1/tcp/${port}`, first.addresses[0]], onEvent: event => { events.push(event) } })
    assert.deepEqual(events.map(event => event.type === 'bootstrap-failed' ? event.address : event.type), [`/ip4/127.0.0.1/tcp/${port}`])
  })

  it('does not dial itself when its own address is among the bootstrap addresses', async () => {
    const { server, port } = await listening()
    await closed(server)
    const privateKey = await loadOrCreateKey(join(folder, 'peer.key'))
    const listen = [`/ip4/127.0.0.1/tcp/${port}`]
    const self = await hosts.start({ privateKey, listen, bootstrap: [`${listen[0]}/p2p/${privateKey.publicKey.toString()}`] })
    assert.equal(self.libp2p.getConnections().length, 0)
  })

  it('stops waiting when it is told to', async () => {
    // A libp2p host without our DHT: it answers, and never enters the routing table.
    const stranger = await createLibp2p({ addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] }, transports: [tcp()], connectionEncrypters: [noise()], streamMuxers: [yamux()] })
    const controller = new AbortController()
    stranger.addEventListener('peer:connect', () => { controller.abort() }, { once: true })
    try {
      await assert.rejects(hosts.start({ bootstrap: [stranger.getMultiaddrs()[0].toString()], signal: controller.signal }), hasCode('aborted', 'cancelled'))
    } finally {
      await stranger.stop()
    }
  })
})
