import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection, Stream } from '@libp2p/interface'
import { multiaddr, type Multiaddr } from '@multiformats/multiaddr'
import { connectSwarm, type SwarmConnection } from '../../../swarm/client.js'
import * as constants from '../../../swarm/constants.js'
import { encodeRequest } from '../../../swarm/expert/codec.js'
import { encodeHello } from '../../../swarm/expert/handshake.js'
import { wholePart } from '../../../swarm/expert/split.js'
import type { SwarmHost, SwarmHostInit } from '../../../swarm/host.js'
import type { ExpertBatch, ExpertCompute } from '../../../swarm/interface.js'
import type { PeerLimits } from '../../../swarm/limits.js'
import { serveExperts, type ServingPeer } from '../../../swarm/peer.js'
import { batchOf } from '../fixtures/batches.js'
import { expectedSum, FakeCompute } from '../fixtures/fake-compute.js'
import { TestHosts } from '../fixtures/hosts.js'
import { LAYERS, MODEL, slice } from '../fixtures/swarms.js'

/** How long a test waits for a limit to bite, in milliseconds: long, for a busy machine. */
const PATIENCE_MS = 20_000

/** A peer with limits, an honest client of it, and attackers. */
export class Fortress {
  readonly hosts = new TestHosts()
  readonly #sockets: Socket[] = []
  #connection: SwarmConnection | undefined
  host!: SwarmHost
  serving!: ServingPeer

  async start (limits: Partial<PeerLimits>, compute: ExpertCompute = new FakeCompute(), init: Partial<SwarmHostInit> = {}): Promise<void> {
    this.host = await this.hosts.start({ limits, ...init })
    this.serving = await serveExperts({ ...MODEL, host: this.host, layers: LAYERS, blocks: slice(0, MODEL.experts), compute, version: 'test/1' })
    await this.admitHonest()
  }

  get address (): Multiaddr {
    return multiaddr(this.host.addresses[0])
  }

  /** A client that keeps to the rules, with a stream open. */
  async admitHonest (): Promise<void> {
    const host = await this.hosts.start({ dht: 'client', bootstrap: [this.host.addresses[0]], swarmKey: this.swarmKey })
    this.#connection = connectSwarm({ ...MODEL, host, layers: [0, 1], wire: 'fp32' })
    await this.#connection.ready()
  }

  swarmKey: string | undefined

  /** The honest client goes on being served. */
  async served (): Promise<void> {
    assert.ok(this.#connection != null)
    const batch = batchOf(1, MODEL.hiddenSize, [[0, 5], [2]])
    const { sum } = await this.#connection.dispatcher.dispatch(batch)
    const expected = expectedSum(batch)
    sum.forEach((value, at) => { assert.ok(Math.abs(value - expected[at]) < 1e-4) })
  }

  /** A libp2p host that has not dialled anybody yet. */
  async attacker (): Promise<SwarmHost> {
    return await this.hosts.start({ dht: 'client', swarmKey: this.swarmKey })
  }

  async connectionOf (attacker: SwarmHost): Promise<Connection> {
    return await attacker.libp2p.dial(this.address, { force: true })
  }

  /** An expert stream of an attacker, after its hello unless `greet` is false. */
  async stream (connection: Connection, greet = true): Promise<Stream> {
    const stream = await connection.newStream(constants.EXPERTS_PROTOCOL)
    if (greet) stream.send(encodeHello({ ...MODEL, wire: 'fp32', maxFrameBytes: constants.MAX_FRAME_BYTES }))
    return stream
  }

  /** Sockets that say nothing. */
  async sockets (count: number, localAddress?: string): Promise<Socket[]> {
    const { address, port } = { address: '127.0.0.1', port: Number(this.address.getComponents().find(({ name }) => name === 'tcp')?.value) }
    const sockets = Array.from({ length: count }, () => connect({ host: address, port, localAddress }).on('error', () => {}).resume())
    this.#sockets.push(...sockets)
    await Promise.all(sockets.map(async socket => { await once(socket, 'connect') }))
    return sockets
  }

  async stop (): Promise<void> {
    for (const socket of this.#sockets.splice(0)) socket.destroy()
    await this.#connection?.stop()
    this.#connection = undefined
    this.swarmKey = undefined
    await this.hosts.stopAll()
  }
}

/** A request of one token and one expert, or of this batch, with its length prefix. */
export function requestOf (id: number, batch: ExpertBatch = batchOf(1, MODEL.hiddenSize, [[0]])): Uint8Array {
  return encodeRequest(id, 'fp32', wholePart(batch), MODEL.hiddenSize)
}

/** Returns once `is` holds. */
export async function until (is: () => boolean): Promise<void> {
  const endsAt = performance.now() + PATIENCE_MS
  while (!is()) {
    assert.ok(performance.now() < endsAt, `waited ${PATIENCE_MS / 1_000} s for ${is.toString()}`)
    await sleep(10)
  }
}
