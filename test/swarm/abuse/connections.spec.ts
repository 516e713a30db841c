import assert from 'node:assert/strict'
import { once } from 'node:events'
import { multiaddr } from '@multiformats/multiaddr'
import { networksOf } from '../../../swarm/connection-gate.js'
import { peerLimits, type PeerLimits } from '../../../swarm/limits.js'
import { isSwarmError } from '../../../swarm/errors.js'
import { Fortress, until } from './fortress.js'

describe('a peer under a flood of connections', () => {
  const fortress = new Fortress()
  afterEach(async () => { await fortress.stop() })
  const counters = () => fortress.host.counters.connections

  it('holds few handshakes that do not end, and ends them', async () => {
    await fortress.start({ maxPendingConnections: 4, handshakeTimeoutMs: 1_000 })
    const sockets = await fortress.sockets(12)
    await until(() => counters().refused.pending >= 8)
    assert.ok(counters().pending <= 4)
    await fortress.served()
    await Promise.all(sockets.map(async socket => { if (!socket.closed) await new Promise(resolve => socket.once('close', resolve)) }))
    await until(() => counters().pending === 0)
    await fortress.admitHonest()
    await fortress.served()
  })

  it('takes no more new connections a second from one address than it allows', async () => {
    await fortress.start({ dialsPerSecondPerIp: 5 })
    await fortress.sockets(40)
    await until(() => counters().refused.dialRate >= 20)
    await fortress.served()
  })

  it('takes no more new connections a second in all than it allows', async () => {
    await fortress.start({ dialsPerSecond: 8, dialsPerSecondPerIp: 8 })
    for (const address of ['127.0.0.2', '127.0.1.2', '127.0.2.2', '127.0.3.2']) await fortress.sockets(10, address)
    await until(() => counters().refused.dialRate >= 20)
    await fortress.served()
  })

  it('takes so many of one address', async () => {
    await fortress.start({ maxConnectionsPerIp: 3 })
    await fortress.sockets(6, '127.0.0.2')
    await until(() => counters().refused.perIp === 3)
    assert.equal(counters().open, 4, 'three of the attacker, one of the honest client')
    await fortress.served()
  })

  it('takes so many of one subnet', async () => {
    await fortress.start({ maxConnectionsPerIp: 2, maxConnectionsPerSubnet: 3 })
    for (const last of [2, 3, 4]) await fortress.sockets(2, `127.0.1.${last}`)
    await until(() => counters().refused.perSubnet === 3)
    await fortress.served()
  })

  it('takes so many of one peer id', async () => {
    await fortress.start({ maxConnectionsPerPeer: 2 })
    const attacker = await fortress.attacker()
    // One after the other: dials of one peer at the same time are one dial.
    for (let n = 0; n < 5; n++) await fortress.connectionOf(attacker).catch(() => { /* refused at the end of its handshake */ })
    await until(() => counters().refused.perPeer === 3)
    await until(() => fortress.host.libp2p.getConnections(attacker.libp2p.peerId).length === 2)
    await fortress.served()
  })

  it('is full for those who come while nobody is idle', async () => {
    await fortress.start({ maxConnections: 3, idleConnectionMs: 600_000 })
    await Promise.allSettled([1, 2, 3, 4].map(async () => await fortress.connectionOf(await fortress.attacker())))
    await until(() => counters().refused.full >= 2)
    assert.ok(counters().open <= 3)
    await fortress.served()
  })

  it('lets a newcomer have the place of one that has been idle, not of one that is served', async () => {
    await fortress.start({ maxConnections: 3, idleConnectionMs: 300 })
    const idle = [await fortress.attacker(), await fortress.attacker()]
    for (const attacker of idle) await fortress.connectionOf(attacker)
    await new Promise(resolve => setTimeout(resolve, 400))
    await fortress.served()
    const newcomer = await fortress.attacker()
    const connection = await fortress.connectionOf(newcomer)
    await fortress.stream(connection)
    assert.equal(counters().displaced, 1)
    await until(() => idle.filter(({ libp2p }) => libp2p.getConnections().length === 0).length === 1)
    await fortress.served()
  })

  it('refuses more streams on a connection than it allows', async () => {
    await fortress.start({ maxStreamsPerConnection: 6, handshakeTimeoutMs: 60_000 })
    const connection = await fortress.connectionOf(await fortress.attacker())
    let refused = 0
    // A stream whose protocol is not agreed on is held for as long as a handshake may take.
    const opened = await Promise.allSettled(Array.from({ length: 12 }, async () => {
      const stream = await connection.newStream('/ipfs/ping/1.0.0', { signal: AbortSignal.timeout(5_000), maxOutboundStreams: 100 })
      if (stream.status === 'open') await Promise.race([once(stream as unknown as EventTarget, 'close'), new Promise(resolve => setTimeout(resolve, 1_000))])
      if (stream.status !== 'open') throw new Error('reset')
    }))
    refused += opened.filter(({ status }) => status === 'rejected').length
    assert.ok(refused >= 6, `${refused} of 12 refused`)
    await fortress.served()
  })
})

describe('the limits of a peer', () => {
  it('stand for the whole that one person may have of the address space', () => {
    const networks = (address: string) => networksOf(multiaddr(address))
    assert.deepEqual(networks('/ip4/192.0.2.7/tcp/1'), ['192.0.2.7', '192.0.2'])
    assert.deepEqual(networks('/ip6/::ffff:192.0.2.7/tcp/1')[1], networks('/ip4/192.0.2.7/tcp/1')[1])
    assert.deepEqual(networks('/ip6/2001:db8:1:2:3:4:5:6/tcp/1'), networks('/ip6/2001:db8:1:2::9/tcp/1'))
    assert.equal(networks('/ip6/2001:db8:1:2::1/tcp/1')[1], networks('/ip6/2001:db8:1:3::1/tcp/1')[1])
    assert.notEqual(networks('/ip6/2001:db8:1:2::1/tcp/1')[0], networks('/ip6/2001:db8:1:3::1/tcp/1')[0])
  })

  for (const [name, value] of [['maxConnections', 0], ['maxRequests', 1.5], ['maxFrameBytes', 1_000], ['maxFrameBytes', 2 ** 30], ['dialsPerSecond', NaN]] as Array<[keyof PeerLimits, number]>) {
    it(`refuse ${name} ${value}`, () => {
      assert.throws(() => peerLimits({ [name]: value }), error => isSwarmError(error, 'bad-argument') && error.data.argument === name)
    })
  }
})
