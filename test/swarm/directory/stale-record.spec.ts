import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { multiaddr } from '@multiformats/multiaddr'
import { PEER_RETRIES } from '../../../swarm/constants.js'
import { modelKey } from '../../../swarm/dht/keys.js'
import { PeerDirectory } from '../../../swarm/directory/directory.js'
import type { SwarmHost } from '../../../swarm/host.js'
import { until } from '../abuse/fortress.js'
import { TestHosts } from '../fixtures/hosts.js'
import { MODEL } from '../fixtures/swarms.js'

/** How long the DHT believes a record here; a directory searches at least every 30 s, and first after 1, 2 and 4 s. */
const VALIDITY_MS = 2_000

describe('a record that outlives its peer', () => {
  const hosts = new TestHosts()
  let server: Server | undefined
  let directory: PeerDirectory | undefined

  afterEach(async () => {
    directory?.stop()
    server?.close()
    await hosts.stopAll()
  })

  /** Says that it serves the model, and goes; who listens in its place counts how often it is dialled. */
  const gone = async (bootstrap: string): Promise<{ dials: () => number }> => {
    // A client of the DHT is in nobody's routing table: only the record names it.
    const peer = await hosts.start({ dht: 'client', listen: ['/ip4/127.0.0.1/tcp/0'], bootstrap: [bootstrap] })
    for await (const event of peer.libp2p.services.dht.provide(modelKey(MODEL.modelId))) void event
    const [address] = peer.addresses
    await peer.stop()
    let dials = 0
    server = createServer(socket => {
      dials++
      socket.destroy()
    }).listen(Number(multiaddr(address).getComponents().find(({ name }) => name === 'tcp')?.value), '127.0.0.1')
    await once(server, 'listening')
    return { dials: () => dials }
  }

  const follow = (client: SwarmHost, retryMs: [number, number]): PeerDirectory => new PeerDirectory({
    libp2p: client.libp2p, ...MODEL, layers: [0, 1], wire: 'fp32', manifestIntervalMs: 200, maxLivePeers: 8, onEvent: () => {}, retryMs
  })

  it('is dialled less and less, and no more when the record has expired', async () => {
    const entrance = await hosts.start({ limits: { providerRecordValidityMs: VALIDITY_MS } })
    const { dials } = await gone(entrance.addresses[0])
    const client = await hosts.start({ dht: 'client', bootstrap: [entrance.addresses[0]] })
    directory = follow(client, [10, 100])
    await directory.start()
    await until(() => dials() > PEER_RETRIES)
    await until(() => entrance.counters.dht.providerRecords === 0)
    // A search that was under way then.
    await sleep(500)
    const last = dials()
    await directory.refresh()
    await sleep(1_000)
    assert.equal(dials(), last)
    assert.equal(directory.live.length, 0)
  })

  it('is tried as often as a new one when somebody waits for its peer', async () => {
    const entrance = await hosts.start()
    const { dials } = await gone(entrance.addresses[0])
    const client = await hosts.start({ dht: 'client', bootstrap: [entrance.addresses[0]] })
    // After nine tries the next one is 5 s away, and the one after it 10 s; each search brings one more.
    directory = follow(client, [10, 600_000])
    await directory.start()
    await until(() => dials() >= 9)
    const before = dials()
    await directory.refresh()
    await until(() => dials() >= before + 11)
  })

  it('is not dialled again at every search', async () => {
    const entrance = await hosts.start()
    const { dials } = await gone(entrance.addresses[0])
    const client = await hosts.start({ dht: 'client', bootstrap: [entrance.addresses[0]] })
    directory = follow(client, [60_000, 60_000])
    await directory.start()
    await until(() => dials() > 0)
    await sleep(2_000)
    // The same address may be tried more than once in a dial.
    assert.ok(dials() <= 2, `${dials()} dials`)
  })
})
