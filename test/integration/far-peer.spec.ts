import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { peerIdFromString } from '@libp2p/peer-id'
import { freePort } from '../../scripts/peer-process.js'
import { WanProxy } from '../../scripts/wan-proxy/index.js'
import { connectSwarm, type SwarmConnection } from '../../swarm/client.js'
import { CONNECTION_PING_INTERVAL_MS, CONNECTION_PING_TIMEOUT_MIN_MS } from '../../swarm/constants.js'
import type { SwarmEvent } from '../../swarm/events.js'
import { serveExperts } from '../../swarm/peer.js'
import { FakeCompute } from '../swarm/fixtures/fake-compute.js'
import { TestHosts } from '../swarm/fixtures/hosts.js'
import { LAYERS, MODEL, slice } from '../swarm/fixtures/swarms.js'

/** One way; there and back is as far as Europe and Australia are apart. Milliseconds. */
const DELAY_MS = 150
const JITTER_MS = 15

describe('a peer that is 300 ms away', () => {
  const hosts = new TestHosts()
  let proxy: WanProxy
  let connection: SwarmConnection | undefined
  const events: SwarmEvent[] = []

  beforeEach(async () => { proxy = await WanProxy.listen({ delayMs: DELAY_MS, jitterMs: JITTER_MS }) })
  afterEach(async () => {
    await connection?.stop()
    await hosts.stopAll()
    await proxy.close()
  })

  it('is found, and kept although pings overlap', async () => {
    const port = await freePort()
    proxy.connectTo({ host: '127.0.0.1', port })
    const first = await hosts.start()
    const peer = await hosts.start({ listen: [`/ip4/127.0.0.1/tcp/${port}`], announce: [`/ip4/127.0.0.1/tcp/${proxy.port}`], bootstrap: first.addresses })
    await serveExperts({ ...MODEL, host: peer, layers: LAYERS, blocks: slice(0, 8), compute: new FakeCompute(), version: 'test/1' })
    const client = await hosts.start({ dht: 'client', bootstrap: first.addresses })
    connection = connectSwarm({ ...MODEL, host: client, layers: [0, 1], wire: 'fp32', onEvent: event => { events.push(event) } })
    await connection.ready()
    assert.equal(events.some(event => event.type === 'peer-live' && event.latencyMs >= 2 * (DELAY_MS - JITTER_MS)), true)

    // A ping that is under way whenever the connection monitor looks.
    const [link] = client.libp2p.getConnections(peerIdFromString(peer.peerId))
    const ping = await link.newStream('/ipfs/ping/1.0.0', { signal: AbortSignal.timeout(5_000) })
    await sleep(CONNECTION_PING_INTERVAL_MS + CONNECTION_PING_TIMEOUT_MIN_MS)
    assert.deepEqual(events.filter(({ type }) => type === 'peer-lost' || type === 'session-closed'), [])
    assert.equal(link.status, 'open')
    await ping.close({ signal: AbortSignal.timeout(5_000) })
  })
})
