import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import * as limits from '../../../swarm/constants.js'
import { isSwarmError, SwarmError, type SwarmErrorCode } from '../../../swarm/errors.js'
import type { SwarmEvent } from '../../../swarm/events.js'
import { ExpertClient, type ExpertClientInit, type PartReply } from '../../../swarm/expert/client.js'
import { encodeReply, encodeRequest } from '../../../swarm/expert/codec.js'
import { encodeHello } from '../../../swarm/expert/handshake.js'
import { ExpertService } from '../../../swarm/expert/service.js'
import { wholePart } from '../../../swarm/expert/split.js'
import type { SwarmHost } from '../../../swarm/host.js'
import type { ExpertBatch, ExpertCompute, WireDtype } from '../../../swarm/interface.js'
import { batchOf } from '../fixtures/batches.js'
import { expectedSum, FakeCompute } from '../fixtures/fake-compute.js'
import { Gate } from '../fixtures/gate.js'
import { TestHosts } from '../fixtures/hosts.js'
import { seeded } from '../../../scripts/seeded.js'

const MODEL = { modelId: 'ab'.repeat(32), hiddenSize: 32, experts: 8 }
const BLOCKS = [{ layer: 0, firstExpert: 0, experts: 6 }, { layer: 1, firstExpert: 0, experts: 8 }]
const BATCH = batchOf(1, MODEL.hiddenSize, [[0, 5], [2]])

function hasCode (code: SwarmErrorCode) {
  return (error: unknown): boolean => isSwarmError(error, code) || assert.fail(`${String(error)} is not ${code}`)
}

describe('expert service and client', () => {
  const hosts = new TestHosts()
  const services: ExpertService[] = []
  let peer: SwarmHost
  let events: SwarmEvent[]

  beforeEach(async () => {
    peer = await hosts.start()
    events = []
  })
  afterEach(async () => {
    await Promise.all(services.splice(0).map(async service => { await service.stop() }))
    await hosts.stopAll()
  })

  const serve = async (compute: ExpertCompute, wires: WireDtype[] = ['fp32', 'fp16', 'int8']): Promise<ExpertService> => {
    const service = new ExpertService({ ...MODEL, libp2p: peer.libp2p, layers: 2, blocks: BLOCKS, wires, compute, onEvent: event => { events.push(event) } })
    services.push(service)
    await service.start()
    return service
  }
  const guest = async (): Promise<SwarmHost> => await hosts.start({ dht: 'client', bootstrap: [peer.addresses[0]] })
  const connect = async (init: Partial<ExpertClientInit> = {}): Promise<ExpertClient> => {
    const { libp2p } = await guest()
    return await ExpertClient.open({ ...MODEL, libp2p, peerId: peerIdFromString(peer.peerId), wire: 'fp32', signal: AbortSignal.timeout(5_000), onClose: () => {}, ...init })
  }
  const ask = async (client: ExpertClient, batch: ExpertBatch = BATCH, signal?: AbortSignal): Promise<PartReply> =>
    await client.request(wholePart(batch), { deadlineMs: 5_000, signal })
  const dial = async (): Promise<Stream> => await (await guest()).libp2p.dialProtocol(peerIdFromString(peer.peerId), limits.EXPERTS_PROTOCOL)
  const hello = (): Uint8Array => encodeHello({ ...MODEL, wire: 'fp32', maxFrameBytes: limits.MAX_FRAME_BYTES })

  for (const [wire, tolerance] of [['fp32', 1e-6], ['fp16', 2e-3], ['int8', 3e-2]] as const) {
    it(`answer in ${wire}`, async () => {
      const compute = new FakeCompute()
      const service = await serve(compute)
      const client = await connect({ wire })
      assert.deepEqual(client.welcome.blocks, BLOCKS)
      const { sum, queueMicros, serviceMicros, networkMs } = await ask(client)
      const expected = expectedSum(BATCH)
      sum.forEach((value, i) => { assert.ok(Math.abs(value - expected[i]) <= tolerance * 8, `${value} for ${expected[i]}`) })
      assert.deepEqual([queueMicros, serviceMicros], [10, 20])
      assert.ok(networkMs > 0)
      const { requests, tokens, refused, failed, rateLimited } = service.counters
      assert.deepEqual([requests, tokens, refused, failed, rateLimited], [1, 2, 0, 0, 0])
    })
  }

  it('answer in the order in which requests are done', async () => {
    const gates = [new Gate(), new Gate()]
    let at = 0
    await serve(new FakeCompute(async () => { await gates[at++].pass() }))
    const client = await connect()
    const order: string[] = []
    const first = ask(client).then(() => order.push('first'))
    await gates[0].arrived(1)
    const second = ask(client).then(() => order.push('second'))
    await gates[1].arrived(1)
    gates[1].open()
    await second
    gates[0].open()
    await first
    assert.deepEqual(order, ['second', 'first'])
  })

  it('hand a request over before the call returns', async () => {
    await serve(new FakeCompute())
    const { libp2p } = await guest()
    let stream: Stream | undefined
    const client = await ExpertClient.open({
      ...MODEL,
      libp2p: { dialProtocol: async (...args) => (stream = await libp2p.dialProtocol(...args)) },
      peerId: peerIdFromString(peer.peerId),
      wire: 'fp32',
      signal: AbortSignal.timeout(5_000),
      onClose: () => {}
    })
    assert.ok(stream != null)
    const sizes: number[] = []
    const send = stream.send.bind(stream)
    stream.send = data => {
      sizes.push(data.byteLength)
      return send(data)
    }
    const reply = ask(client)
    assert.equal(sizes.length, 1)
    await reply
  })

  it('cancel', async () => {
    const gate = new Gate()
    const cancelled = new Gate()
    await serve(new FakeCompute(async (_batch, signal) => {
      signal?.addEventListener('abort', () => { void cancelled.pass() })
      await gate.pass()
    }))
    const client = await connect()
    const controller = new AbortController()
    const reply = ask(client, BATCH, controller.signal)
    await gate.arrived(1)
    controller.abort()
    await assert.rejects(reply, hasCode('aborted'))
    await cancelled.arrived(1)
    gate.open()
    assert.equal((await ask(client)).sum.length, 2 * MODEL.hiddenSize, 'the stream lives on')
  })

  it('give up after the deadline, and ignore the late reply', async () => {
    const gate = new Gate()
    await serve(new FakeCompute(async () => { await gate.pass() }))
    const client = await connect()
    await assert.rejects(client.request(wholePart(BATCH), { deadlineMs: 20 }), hasCode('timeout'))
    gate.open()
    await ask(client)
    assert.equal(client.inFlight, 0)
  })

  it('pass on that compute is busy, and when to come back', async () => {
    await serve(new FakeCompute(async () => { throw new SwarmError('busy', 'The queue is full.', { retryAfterMs: 77 }) }))
    await assert.rejects(ask(await connect()), error => isSwarmError(error, 'busy') && error.data.retryAfterMs === 77)
  })

  it('tell that compute failed, without its text, and go on', async () => {
    let fail = true
    await serve(new FakeCompute(async () => { if (fail) throw new Error('secret path') }))
    const client = await connect()
    await assert.rejects(ask(client), error => isSwarmError(error, 'compute-failed') && !error.message.includes('secret'))
    fail = false
    await ask(client)
  })

  it('refuse more requests at a time than welcomed', async () => {
    const gate = new Gate()
    await serve(new FakeCompute(async () => { await gate.pass() }))
    const client = await connect()
    const replies = Array.from({ length: limits.MAX_IN_FLIGHT }, async () => await ask(client))
    await assert.rejects(ask(client), hasCode('busy'))
    gate.open()
    await Promise.all(replies)
  })

  for (const { id, batch } of [
    { id: 'an expert', batch: batchOf(0, MODEL.hiddenSize, [[0, 6]]) },
    { id: 'an expert of the last token', batch: batchOf(0, MODEL.hiddenSize, [[0], [1], [7]]) }
  ]) {
    it(`refuse ${id} that is not hosted`, async () => {
      await serve(new FakeCompute())
      const client = await connect()
      await assert.rejects(ask(client, batch), hasCode('not-hosted'))
      await ask(client)
    })
  }

  it('refuse too many tokens, and go on', async () => {
    await serve(new FakeCompute())
    const client = await connect()
    assert.equal(client.fits(limits.MAX_REQUEST_TOKENS, 1), true)
    assert.equal(client.fits(limits.MAX_REQUEST_TOKENS + 1, 1), false)
    await assert.rejects(ask(client, batchOf(1, MODEL.hiddenSize, new Array<number[]>(limits.MAX_REQUEST_TOKENS + 1).fill([0]))), hasCode('too-large'))
    await ask(client)
  })

  for (const { id, init, code } of [
    { id: 'another model', init: { modelId: 'cd'.repeat(32) }, code: 'wrong-model' },
    { id: 'a model of another width', init: { hiddenSize: 64 }, code: 'wrong-model' },
    { id: 'another number of experts', init: { experts: 16 }, code: 'wrong-model' },
    { id: 'a wire form that it does not take', init: { wire: 'int8' }, code: 'wrong-wire' }
  ] as Array<{ id: string, init: Partial<ExpertClientInit>, code: SwarmErrorCode }>) {
    it(`refuse a client that asks for ${id}`, async () => {
      await serve(new FakeCompute(), ['fp32'])
      await assert.rejects(connect(init), hasCode(code))
    })
  }

  it('report a peer without the protocol as unreachable', async () => {
    await assert.rejects(connect(), hasCode('unreachable'))
  })

  it('fail what is pending when the peer goes away in the middle', async () => {
    const gate = new Gate()
    await serve(new FakeCompute(async () => { await gate.pass() }))
    const closed = new Gate()
    const client = await connect({ onClose: () => { void closed.pass() } })
    const reply = ask(client)
    await gate.arrived(1)
    await Promise.all([assert.rejects(reply, hasCode('peer-gone')), closed.arrived(1), peer.stop()])
    await assert.rejects(ask(client), hasCode('peer-gone'))
    gate.open()
  })

  it('finish what is in flight before they stop, and refuse what is new', async () => {
    const gate = new Gate()
    const service = await serve(new FakeCompute(async () => { await gate.pass() }))
    const client = await connect()
    const reply = ask(client)
    await gate.arrived(1)
    const stopping = service.stop()
    await assert.rejects(ask(client), hasCode('busy'))
    gate.open()
    await stopping
    assert.equal((await reply).sum.length, 2 * MODEL.hiddenSize)
    await assert.rejects(ask(client), hasCode('peer-gone'))
  })

  describe('a hostile client', () => {
    const framed = encodeRequest(1, 'fp32', wholePart(BATCH), MODEL.hiddenSize)
    const random = seeded(5)
    // A complete frame, or it would be waited for.
    const nonsense = Uint8Array.from({ length: 4_000 }, (_, at) => at === 0 ? 100 : Math.floor(random() * 256))
    /** Two bytes of length and 16 of header come before. */
    const COUNTS_AT = 18
    const attacks: Array<{ id: string, bytes: () => Uint8Array[] }> = [
      { id: 'random bytes', bytes: () => [nonsense] },
      { id: 'a length prefix of 2^31', bytes: () => [Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x08)] },
      { id: 'a length prefix without end', bytes: () => [new Uint8Array(64).fill(0x80)] },
      { id: 'an empty hello', bytes: () => [Uint8Array.of(0)] },
      { id: 'a hello of 100 KiB', bytes: () => [Uint8Array.of(0x80, 0xa0, 0x06), new Uint8Array(102_400)] },
      { id: 'a request before the hello', bytes: () => [framed] },
      { id: 'random bytes after the hello', bytes: () => [hello(), nonsense] },
      { id: 'a frame shorter than a header', bytes: () => [hello(), Uint8Array.of(2, 1, 0)] },
      { id: 'a frame above the limit', bytes: () => [hello(), Uint8Array.of(0x81, 0x80, 0x80, 0x01)] },
      { id: 'the same id twice', bytes: () => [hello(), framed, framed] },
      { id: 'a reply', bytes: () => [hello(), encodeReply(1, 'fp32', new Float32Array(32), 32, 0, 0)] },
      { id: 'a request whose counts lie', bytes: () => [hello(), framed.map((byte, at) => at === COUNTS_AT ? 9 : byte)] }
    ]
    for (const { id, bytes } of attacks) {
      it(`that sends ${id} loses its stream and nothing else`, async () => {
        const gate = new Gate()
        await serve(new FakeCompute(async () => { await gate.pass() }))
        const honest = await connect()
        const reply = ask(honest)
        const stream = await dial()
        const gone = once(stream as unknown as EventTarget, 'close')
        for (const chunk of bytes()) stream.send(chunk)
        await gone
        gate.open()
        assert.equal((await reply).sum.length, 2 * MODEL.hiddenSize)
        assert.ok(events.some(event => event.type === 'stream-aborted'))
      })
    }

    it('that closes in the middle of a frame costs nothing', async () => {
      await serve(new FakeCompute())
      const stream = await dial()
      stream.send(hello())
      stream.send(framed.subarray(0, 50))
      await stream.close()
      await ask(await connect())
    })
  })
})
