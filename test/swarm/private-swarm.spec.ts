import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { BLOCKS_PROTOCOL, EXPERTS_PROTOCOL, KAD_PROTOCOL, MANIFEST_PROTOCOL } from '../../swarm/constants.js'
import { connectSwarm } from '../../swarm/client.js'
import { fetchManifest } from '../../swarm/directory/manifest-protocol.js'
import { isSwarmError } from '../../swarm/errors.js'
import { serveBlocks } from '../../swarm/blocks/service.js'
import type { SwarmHost } from '../../swarm/host.js'
import { loadOrCreateKey } from '../../swarm/key-file.js'
import { createSwarmKey, readSwarmKey, writeSwarmKey } from '../../swarm/swarm-key.js'
import { Fortress } from './abuse/fortress.js'
import { contentOf, MemorySource } from './fixtures/contents.js'
import { MODEL } from './fixtures/swarms.js'

const PROTOCOLS = [EXPERTS_PROTOCOL, MANIFEST_PROTOCOL, BLOCKS_PROTOCOL, KAD_PROTOCOL]

describe('who may join a swarm', () => {
  const fortress = new Fortress()
  let folder: string
  beforeEach(async () => { folder = await mkdtemp(join(tmpdir(), 'moeswarm-key-')) })
  afterEach(async () => {
    await fortress.stop()
    await rm(folder, { recursive: true })
  })
  const isBadKey = (error: unknown): boolean => isSwarmError(error, 'bad-key-file')

  /** Serves experts, manifest, blocks and DHT. */
  const start = async (init: Parameters<Fortress['start']>[2] = {}): Promise<void> => {
    fortress.swarmKey = init.swarmKey
    await fortress.start({}, undefined, init)
    await serveBlocks({ host: fortress.host, source: new MemorySource(new Uint8Array(64), [contentOf('a', 100)]) })
  }
  const getsNothing = async (outsider: SwarmHost): Promise<void> => {
    for (const protocol of PROTOCOLS) {
      await assert.rejects(async () => {
        const stream = await outsider.libp2p.dialProtocol(fortress.address, protocol, { signal: AbortSignal.timeout(1_500) })
        // A host that is turned away after its handshake has a connection for a moment.
        for await (const data of stream) assert.fail(`${protocol} answered ${data.byteLength} bytes`)
        if (stream.status !== 'open') throw new Error('cut')
      }, error => !(error instanceof assert.AssertionError), protocol)
    }
    await assert.rejects(fetchManifest(outsider.libp2p, fortress.host.libp2p.peerId, 0, AbortSignal.timeout(1_500)), error => isSwarmError(error, 'unreachable') || isSwarmError(error, 'aborted') || isSwarmError(error, 'malformed'))
    await fortress.served()
  }

  it('members of a private swarm serve each other', async () => {
    await start({ swarmKey: createSwarmKey() })
    await fortress.served()
  })

  for (const [who, swarmKey] of [['without a key', undefined], ['with another key', createSwarmKey()]] as const) {
    it(`an outsider ${who} gets nothing from a private swarm`, async () => {
      await start({ swarmKey: createSwarmKey() })
      await assert.rejects(fortress.hosts.start({ dht: 'client', swarmKey, bootstrap: [fortress.host.addresses[0]] }), error => isSwarmError(error, 'unreachable') && error.message.includes('swarm'))
      await getsNothing(await fortress.hosts.start({ dht: 'client', swarmKey }))
    })
  }

  it('a member gets nothing from an open swarm, nor an open host from it', async () => {
    await start()
    await getsNothing(await fortress.hosts.start({ dht: 'client', swarmKey: createSwarmKey() }))
  })

  it('a bare socket learns nothing but a nonce', async () => {
    await start({ swarmKey: createSwarmKey() })
    const socket = connect(Number(fortress.address.getComponents().find(({ name }) => name === 'tcp')?.value), '127.0.0.1')
    const chunks: Buffer[] = []
    socket.on('error', () => {})
    socket.write(Buffer.alloc(24, 1))
    socket.write('/multistream/1.0.0\n')
    socket.on('data', chunk => { chunks.push(chunk) })
    await new Promise(resolve => socket.once('close', resolve))
    assert.ok(Buffer.concat(chunks).byteLength <= 24 + 32, 'the nonce, and at most one answer that nobody can read')
    assert.equal(Buffer.concat(chunks).includes('multistream'), false)
  })

  it('a peer with an allow list serves those on it and nobody else', async () => {
    const member = await generateKeyPair('Ed25519')
    const other = await fortress.hosts.start({ dht: 'client' })
    const host = await fortress.hosts.start({ allow: [peerIdFromPrivateKey(member).toString()] })
    await assert.rejects(async () => {
      const stream = await other.libp2p.dialProtocol(host.libp2p.getMultiaddrs()[0], KAD_PROTOCOL, { signal: AbortSignal.timeout(5_000) })
      for await (const data of stream) assert.fail(`answered ${data.byteLength} bytes`)
      throw new Error('cut')
    })
    assert.equal(host.counters.connections.refused.notAllowed >= 1, true)
    await fortress.hosts.start({ dht: 'client', privateKey: member, bootstrap: [host.addresses[0]] })
  })

  it('a peer on a deny list gets nothing, others are served', async () => {
    const outcast = await generateKeyPair('Ed25519')
    await start({ deny: [peerIdFromPrivateKey(outcast).toString()] })
    await getsNothing(await fortress.hosts.start({ dht: 'client', privateKey: outcast }))
    assert.ok(fortress.host.counters.connections.refused.notAllowed >= 1)
  })

  it('a host does not dial whom it denies, whoever names it', async () => {
    await start()
    const client = await fortress.hosts.start({ dht: 'client', deny: [fortress.host.peerId] })
    await assert.rejects(client.libp2p.dial(fortress.address))
    // Without the id in the address it knows whom it met after the handshake.
    await assert.rejects(client.libp2p.dial(fortress.address.decapsulate(`/p2p/${fortress.host.peerId}`)))
    assert.equal(client.libp2p.getConnections().length, 0)
    const friend = await fortress.hosts.start({ bootstrap: [fortress.host.addresses[0]] })
    const wary = await fortress.hosts.start({ dht: 'client', deny: [fortress.host.peerId], bootstrap: [friend.addresses[0]] })
    const connection = connectSwarm({ ...MODEL, host: wary, layers: [0] })
    await assert.rejects(connection.ready({ timeoutMs: 1_500 }), error => isSwarmError(error, 'coverage-incomplete'))
    await connection.stop()
  })

  it('names what on a list is no peer id', async () => {
    await assert.rejects(fortress.hosts.start({ allow: ['nobody'] }), error => isSwarmError(error, 'bad-argument') && error.message.includes('nobody'))
  })

  it('a swarm key is written for its owner only, never over another, and read back', async () => {
    const file = join(folder, 'swarm.key')
    await writeSwarmKey(file)
    assert.equal((await stat(file)).mode & 0o777, 0o600)
    const key = await readSwarmKey(file)
    await assert.rejects(writeSwarmKey(file), isBadKey)
    assert.equal(await readSwarmKey(file), key)
    assert.match(key, /^\/key\/swarm\/psk\/1\.0\.0\/\n\/base16\/\n[0-9a-f]{64}\n$/)
  })

  it('a swarm key that is none, that is not there, or that others can read is refused without being shown', async () => {
    const file = join(folder, 'swarm.key')
    await assert.rejects(readSwarmKey(file), isBadKey)
    await writeFile(file, 'secret that is no key', { mode: 0o600 })
    await assert.rejects(readSwarmKey(file), error => isBadKey(error) && !(error as Error).message.includes('secret'))
    await writeFile(file, createSwarmKey())
    for (const mode of [0o640, 0o604, 0o620]) {
      await chmod(file, mode)
      await assert.rejects(readSwarmKey(file), error => isBadKey(error) && (error as Error).message.includes(`chmod 600 ${file}`))
    }
    await assert.rejects(fortress.hosts.start({ swarmKey: 'not a key' }), error => isSwarmError(error, 'bad-argument') && !error.message.includes('not a key'))
  })

  it('an identity that others can read is refused', async () => {
    const file = join(folder, 'peer.key')
    await loadOrCreateKey(file)
    await chmod(file, 0o644)
    await assert.rejects(loadOrCreateKey(file), error => isBadKey(error) && (error as Error).message.includes(`chmod 600 ${file}`))
    await chmod(file, 0o600)
    await loadOrCreateKey(file)
  })
})
