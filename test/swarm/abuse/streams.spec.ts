import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Stream } from '@libp2p/interface'
import * as lp from 'it-length-prefixed'
import * as constants from '../../../swarm/constants.js'
import { decodePeerFrame, type PeerFrame } from '../../../swarm/expert/codec.js'
import { batchOf } from '../fixtures/batches.js'
import { FakeCompute } from '../fixtures/fake-compute.js'
import { Gate } from '../fixtures/gate.js'
import { MODEL } from '../fixtures/swarms.js'
import { Fortress, requestOf, until } from './fortress.js'

/** A request whose reply is large: 24 values in fp32 for each token. */
const LARGE = batchOf(1, MODEL.hiddenSize, new Array<number[]>(512).fill([0]))

/** What a peer answers, but for its welcome. */
function answersOn (stream: Stream): PeerFrame[] {
  const answers: PeerFrame[] = []
  void (async () => {
    let welcomed = false
    for await (const frame of lp.decode(stream, { maxDataLength: constants.MAX_FRAME_BYTES })) {
      if (welcomed) answers.push(decodePeerFrame(frame.subarray()))
      welcomed = true
    }
  })().catch(() => { /* the peer has cut it */ })
  return answers
}

async function closed (stream: Stream): Promise<void> {
  if (stream.status === 'open') await once(stream as unknown as EventTarget, 'close')
}

describe('a peer with a client that', () => {
  const fortress = new Fortress()
  afterEach(async () => { await fortress.stop() })
  const counters = () => fortress.serving.counters
  const attack = async (greet = true): Promise<Stream> => await fortress.stream(await fortress.connectionOf(await fortress.attacker()), greet)

  it('opens a stream and never says anything cuts it', async () => {
    await fortress.start({ handshakeTimeoutMs: 400 })
    await closed(await attack(false))
    assert.equal(counters().silent, 1)
    await fortress.served()
  })

  it('opens streams without end gives it few', async () => {
    await fortress.start({ maxExpertStreamsPerConnection: 2 })
    const connection = await fortress.connectionOf(await fortress.attacker())
    const streams = await Promise.all([1, 2, 3, 4, 5].map(async () => await fortress.stream(connection, false)))
    await until(() => streams.filter(({ status }) => status !== 'open').length === 3)
    await fortress.served()
  })

  it('begins a hello and sends it byte by byte cuts it', async () => {
    await fortress.start({ handshakeTimeoutMs: 400 })
    const stream = await attack(false)
    const trickle = setInterval(() => { if (stream.status === 'open') stream.send(Uint8Array.of(0x7f)) }, 50)
    await closed(stream)
    clearInterval(trickle)
    assert.equal(counters().silent, 1)
    await fortress.served()
  })

  it('begins a request and sends it byte by byte cuts it', async () => {
    await fortress.start({ frameTimeoutMs: 400 })
    const stream = await attack()
    const framed = requestOf(1, LARGE)
    let at = 0
    const trickle = setInterval(() => { if (stream.status === 'open') stream.send(framed.slice(at, ++at)) }, 20)
    await closed(stream)
    clearInterval(trickle)
    assert.equal(counters().slowWriters, 1)
    assert.equal(counters().requests < 1 || at < framed.byteLength, true)
    await fortress.served()
  })

  it('sends whole requests in pieces, slowly but in time, serves it', async () => {
    await fortress.start({ frameTimeoutMs: 10_000 })
    const stream = await attack()
    const answers = answersOn(stream)
    const framed = requestOf(1, LARGE)
    for (let at = 0; at < framed.byteLength; at += 10_000) {
      stream.send(framed.slice(at, at + 10_000))
      await new Promise(resolve => setTimeout(resolve, 20))
    }
    await until(() => answers.length === 1)
    assert.equal(fortress.serving.load.partialBytes, 0)
  })

  it('keeps large requests incomplete on many streams holds no more of them than allowed', async () => {
    await fortress.start({ maxPartialFrameBytes: 100_000, frameTimeoutMs: 60_000 })
    const streams = [await attack(), await attack(), await attack()]
    streams.forEach((stream, at) => { stream.send(requestOf(1, LARGE).slice(0, 45_000 - at)) })
    await until(() => counters().slowWriters === 1)
    await until(() => fortress.serving.load.partialBytes <= 100_000)
    await until(() => streams.filter(({ status }) => status !== 'open').length > 0)
    assert.equal(streams.filter(({ status }) => status === 'open').length, 2)
    await fortress.served()
  })

  it('does not read its replies is cut when too much waits for it', async () => {
    await fortress.start({ maxBacklogBytesPerStream: 256 * 1024 })
    const stream = await attack()
    stream.pause()
    for (let id = 1; id <= 60; id++) stream.send(requestOf(id, LARGE))
    await until(() => counters().slowReaders === 1)
    await closed(stream)
    await fortress.served()
  })

  it('hardly reads its replies is cut after a time', async () => {
    await fortress.start({ frameTimeoutMs: 1_000 })
    const stream = await attack()
    stream.pause()
    for (let id = 1; id <= 20; id++) stream.send(requestOf(id, LARGE))
    await until(() => fortress.serving.load.backlogBytes > 0)
    await until(() => counters().slowReaders === 1)
    assert.equal(fortress.serving.load.backlogBytes, 0)
    await fortress.served()
  })

  it('does not read, with others that do not, holds no more memory than allowed', async () => {
    await fortress.start({ maxBacklogBytes: 256 * 1024, frameTimeoutMs: 60_000 })
    for (let n = 0; n < 3; n++) {
      const stream = await attack()
      stream.pause()
      for (let id = 1; id <= 10; id++) stream.send(requestOf(id, LARGE))
    }
    await until(() => counters().slowReaders >= 1)
    await until(() => fortress.serving.load.backlogBytes <= 256 * 1024)
    await fortress.served()
  })

  it('sends too many requests a second is told to come back, and cut when it does not heed that', async () => {
    await fortress.start({ requestsPerSecondPerPeer: 20 })
    const stream = await attack()
    const answers = answersOn(stream)
    for (let id = 1; id <= 30; id++) stream.send(requestOf(id))
    await until(() => answers.length === 30)
    const busy = answers.filter(answer => answer.kind === 'error' && answer.code === 'busy').length
    assert.ok(busy >= 1 && busy <= 10, `${busy} of 30 refused`)
    assert.equal(counters().rateLimited, busy)
    await fortress.served()
    for (let id = 31; id <= 200; id++) stream.send(requestOf(id))
    await closed(stream)
    assert.equal(counters().tooFast, 1)
    await fortress.served()
  })

  it('sends cancels without end is cut', async () => {
    await fortress.start({ requestsPerSecondPerPeer: 20 })
    const stream = await attack()
    const cancel = Uint8Array.of(8, 4, 0, 0, 0, 9, 0, 0, 0)
    for (let n = 0; n < 200; n++) stream.send(cancel)
    await closed(stream)
    assert.equal(counters().tooFast, 1)
    await fortress.served()
  })

  it('comes with others too often in all leaves the total bounded', async () => {
    await fortress.start({ requestsPerSecond: 30 })
    const streams = [await attack(), await attack(), await attack()]
    const answers = streams.map(answersOn)
    streams.forEach(stream => { for (let id = 1; id <= 25; id++) stream.send(requestOf(id)) })
    await until(() => answers.every(({ length }) => length === 25))
    assert.ok(counters().rateLimited >= 1)
    await new Promise(resolve => setTimeout(resolve, 500))
    await fortress.served()
  })

  it('has many requests at a time on two streams gets no more than one peer may have', async () => {
    const gate = new Gate()
    await fortress.start({ maxRequestsPerPeer: 3 }, new FakeCompute(async ({ tokens }) => { if (tokens === 1) await gate.pass() }))
    const connection = await fortress.connectionOf(await fortress.attacker())
    const streams = [await fortress.stream(connection), await fortress.stream(connection)]
    const answers = streams.map(answersOn)
    streams.forEach(stream => { for (let id = 1; id <= 4; id++) stream.send(requestOf(id)) })
    await until(() => answers.flat().length === 5)
    assert.equal(fortress.serving.load.requests, 3)
    assert.ok(answers.flat().every(answer => answer.kind === 'error' && answer.code === 'busy'))
    await fortress.served()
    gate.open()
  })

  it('fills the queue leaves it bounded', async () => {
    const gate = new Gate()
    await fortress.start({ maxRequests: 4 }, new FakeCompute(async ({ tokens }) => { if (tokens === 1) await gate.pass() }))
    const answers = (await Promise.all([attack(), attack()])).map(stream => {
      for (let id = 1; id <= 4; id++) stream.send(requestOf(id))
      return answersOn(stream)
    })
    await until(() => answers.flat().length === 4)
    assert.equal(fortress.serving.load.requests, 4)
    gate.open()
    await until(() => fortress.serving.load.requests === 0)
    await fortress.served()
  })

  for (const limit of ['maxBytesInFlightPerPeer', 'maxBytesInFlight'] as const) {
    it(`has large requests at a time gets no more memory than ${limit}`, async () => {
      const gate = new Gate()
      await fortress.start({ [limit]: 1024 * 1024 }, new FakeCompute(async ({ tokens }) => { if (tokens === 512) await gate.pass() }))
      const stream = await attack()
      const answers = answersOn(stream)
      for (let id = 1; id <= 6; id++) stream.send(requestOf(id, LARGE))
      await until(() => answers.length >= 4)
      assert.ok(fortress.serving.load.bytes <= 1024 * 1024 && fortress.serving.load.requests >= 1)
      await fortress.served()
      gate.open()
    })
  }

  it('sends a frame above the limit is cut before it is read', async () => {
    await fortress.start({ maxFrameBytes: 64 * 1024 })
    const stream = await attack()
    stream.send(Uint8Array.of(0x81, 0x80, 0x04)) // a length of 64 KiB and one byte
    await closed(stream)
    await fortress.served()
  })

  it('sends more tokens than allowed is refused', async () => {
    await fortress.start({ maxRequestTokens: 16 })
    const stream = await attack()
    const answers = answersOn(stream)
    stream.send(requestOf(1, LARGE))
    await until(() => answers.length === 1)
    assert.ok(answers[0].kind === 'error' && answers[0].code === 'too-large')
    await fortress.served()
  })

  it('asks for the manifest without end gets few', async () => {
    await fortress.start({ manifestsPerSecondPerPeer: 5 })
    const connection = await fortress.connectionOf(await fortress.attacker())
    for (let n = 0; n < 20; n++) {
      await connection.newStream(constants.MANIFEST_PROTOCOL).then(async stream => { await stream.close() }).catch(() => { /* cut while it was opened */ })
    }
    await until(() => fortress.host.counters.manifestsRefused >= 5)
    await fortress.served()
  })
})
