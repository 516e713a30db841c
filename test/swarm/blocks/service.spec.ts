import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { BlockClient } from '../../../swarm/blocks/client.js'
import { decodeServerFrame, encodeAck, encodeCancel, encodeCancelled, encodeContents, encodeRead, encodeSizes, encodeSizesReply, type ServerFrame } from '../../../swarm/blocks/codec.js'
import { RateLimit } from '../../../swarm/blocks/rate-limit.js'
import { BlockService } from '../../../swarm/blocks/service.js'
import * as limits from '../../../swarm/constants.js'
import { isSwarmError, type SwarmErrorCode } from '../../../swarm/errors.js'
import type { SwarmEvent } from '../../../swarm/events.js'
import { FrameStream } from '../../../swarm/expert/frames.js'
import type { SwarmHost } from '../../../swarm/host.js'
import { contentOf, MemorySource } from '../fixtures/contents.js'
import { Gate } from '../fixtures/gate.js'
import { TestHosts } from '../fixtures/hosts.js'

const BIG = contentOf('a.bin', 2 * limits.BLOCK_CHUNK_BYTES)
const DIGEST = BIG.file.sha256
const ABSENT = '00'.repeat(32)

function hasCode (code: SwarmErrorCode) {
  return (error: unknown): boolean => isSwarmError(error, code) || assert.fail(`${String(error)} is not ${code}`)
}

/** A fetcher that does only what a test tells it. */
class BareFetcher {
  readonly frames: ServerFrame[] = []
  readonly closed: Promise<unknown>
  readonly #stream: FrameStream
  #watcher: () => void = () => {}

  constructor (stream: Stream) {
    this.closed = once(stream as unknown as EventTarget, 'close')
    this.#stream = new FrameStream({
      stream,
      peerId: 'server',
      maxFrameBytes: limits.BLOCKS_MAX_FRAME_BYTES,
      onFrame: frame => {
        this.frames.push(decodeServerFrame(frame))
        this.#watcher()
      },
      onClose: () => {}
    })
  }

  send (...framed: Uint8Array[]): void {
    for (const one of framed) this.#stream.send(one)
  }

  /** Returns once a frame of the past or future is one. */
  async frame (is: (frame: ServerFrame) => boolean): Promise<void> {
    while (!this.frames.some(is)) await new Promise<void>(resolve => { this.#watcher = resolve })
  }

  get contentsBytes (): number {
    return this.frames.reduce((sum, frame) => sum + (frame.kind === 'contents' ? frame.bytes.byteLength : 0), 0)
  }
}

describe('block service and client', () => {
  const hosts = new TestHosts()
  let peer: SwarmHost
  let service: BlockService
  let events: SwarmEvent[]

  beforeEach(async () => {
    events = []
    peer = await hosts.start()
  })
  afterEach(async () => { await hosts.stopAll() })

  const serve = async (source = new MemorySource(new Uint8Array(10), [BIG])): Promise<void> => {
    const rateLimit = new RateLimit({ peerBytesPerSecond: Infinity, totalBytesPerSecond: Infinity })
    service = new BlockService({ libp2p: peer.libp2p, source, rateLimit, onEvent: event => { events.push(event) } })
    await service.start()
  }
  const guest = async (): Promise<SwarmHost> => await hosts.start({ dht: 'client', bootstrap: [peer.addresses[0]] })
  const dial = async (host?: SwarmHost): Promise<Stream> => await (host ?? await guest()).libp2p.dialProtocol(peerIdFromString(peer.peerId), limits.BLOCKS_PROTOCOL)
  const connect = async (onClose: (error: Error) => void = () => {}): Promise<BlockClient> =>
    await BlockClient.open({ libp2p: (await guest()).libp2p, peerId: peerIdFromString(peer.peerId), signal: AbortSignal.timeout(5_000), onClose })

  it('answer sizes and reads, side by side', async () => {
    const source = new MemorySource(new Uint8Array(10), [BIG])
    await serve(source)
    const client = await connect()
    assert.deepEqual(await client.sizes([DIGEST, ABSENT, source.modelId]), [BIG.file.bytes, undefined, 10])
    const many = Array.from({ length: 2_500 }, (_, at) => at === 2_400 ? DIGEST : ABSENT)
    assert.equal((await client.sizes(many)).indexOf(BIG.file.bytes), 2_400)
    const reads = await Promise.all([0, 1].map(async chunk => await client.read(DIGEST, chunk * limits.BLOCK_CHUNK_BYTES, limits.BLOCK_CHUNK_BYTES)))
    assert.deepEqual(reads.map(({ sha256 }) => sha256), BIG.file.chunks)
    assert.deepEqual(service.counters, { reads: 2, sentBytes: BIG.file.bytes, refused: 0 })
  })

  for (const { id, digest, offset } of [
    { id: 'what is not there', digest: ABSENT, offset: 0 },
    { id: 'more than there is', digest: DIGEST, offset: BIG.file.bytes - 5 }
  ]) {
    it(`refuse to read ${id}`, async () => {
      await serve()
      await assert.rejects((await connect()).read(digest, offset, 10), hasCode('not-hosted'))
    })
  }

  it('have no more on their way than the credit, in small frames, whatever is asked', async () => {
    await serve()
    const fetcher = new BareFetcher(await dial())
    fetcher.send(encodeRead(1, DIGEST, 0, limits.BLOCK_CHUNK_BYTES), encodeRead(2, DIGEST, 0, limits.BLOCK_CHUNK_BYTES))
    const first = limits.BLOCKS_ACK_BYTES * 2
    // Less than a frame may be left of the credit.
    let expected = first - limits.BLOCKS_FRAME_BYTES + 1
    for (let round = 0; round < 4; round++) {
      await fetcher.frame(() => fetcher.contentsBytes >= expected)
      // The answer to a later question would come behind whatever else was sent.
      fetcher.send(encodeSizes(10 + round, [DIGEST]))
      await fetcher.frame(({ kind, id }) => kind === 'sizes' && id === 10 + round)
      // An acknowledgement lets as many bytes follow, and over a longer round trip it may add as many to the credit.
      assert.ok(fetcher.contentsBytes <= first + 2 * round * limits.BLOCKS_ACK_BYTES, String(fetcher.contentsBytes))
      fetcher.send(encodeAck(limits.BLOCKS_ACK_BYTES))
      expected += limits.BLOCKS_ACK_BYTES
    }
    assert.ok(fetcher.frames.every(frame => frame.kind !== 'contents' || frame.bytes.byteLength <= limits.BLOCKS_FRAME_BYTES))
  })

  it('end a cancelled read in the middle, and go on with the next', async () => {
    await serve()
    const first = limits.BLOCKS_ACK_BYTES * 2
    const fetcher = new BareFetcher(await dial())
    fetcher.send(encodeRead(1, DIGEST, 0, limits.BLOCK_CHUNK_BYTES), encodeRead(2, DIGEST, 0, 10))
    await fetcher.frame(() => fetcher.contentsBytes === first)
    fetcher.send(encodeCancel(1), encodeAck(first))
    await fetcher.frame(({ kind, id }) => kind === 'contents' && id === 2)
    assert.ok(fetcher.frames.some(({ kind, ...frame }) => kind === 'cancelled' && 'id' in frame && frame.id === 1))
    assert.equal(fetcher.contentsBytes, first + 10)
  })

  it('let a caller cancel a read, and use the stream again', async () => {
    const stuck = new Gate()
    await serve(new MemorySource(new Uint8Array(10), [BIG], async () => { await stuck.pass() }))
    const client = await connect()
    const controller = new AbortController()
    const read = client.read(DIGEST, 0, limits.BLOCK_CHUNK_BYTES, controller.signal)
    await stuck.arrived(1)
    controller.abort()
    await assert.rejects(read, hasCode('aborted'))
    assert.equal(client.reads, 1)
    stuck.open()
    assert.equal((await client.read(DIGEST, 0, limits.BLOCK_CHUNK_BYTES)).sha256, BIG.file.chunks[0])
    assert.equal(client.reads, 0)
  })

  it('turn away more fetchers than there is room for', async () => {
    await serve()
    for (let at = 0; at < limits.BLOCKS_MAX_STREAMS; at += limits.MAX_STREAMS_PER_CONNECTION) {
      const host = await guest()
      for (let each = 0; each < limits.MAX_STREAMS_PER_CONNECTION; each++) {
        const fetcher = new BareFetcher(await dial(host))
        fetcher.send(encodeSizes(1, [DIGEST]))
        await fetcher.frame(({ kind }) => kind === 'sizes')
      }
    }
    await assert.rejects((await connect()).sizes([DIGEST]), error => isSwarmError(error, 'busy') && error.data.retryAfterMs === limits.BLOCKS_BUSY_RETRY_MS)
  })

  describe('a hostile fetcher', () => {
    const read = (id: number): Uint8Array => encodeRead(id, DIGEST, 0, limits.BLOCK_CHUNK_BYTES)
    for (const { id, frames } of [
      { id: 'a frame of the other side', frames: [encodeCancelled(1)] },
      { id: 'a frame that is too long', frames: [Uint8Array.of(0xff, 0xff, 0x7f)] },
      { id: 'the same read twice', frames: [read(1), read(1)] },
      { id: 'more reads than allowed', frames: [1, 2, 3, 4, 5].map(read) },
      { id: 'an acknowledgement of what was not sent', frames: [encodeAck(1)] }
    ]) {
      it(`that sends ${id} loses its stream and nothing else`, async () => {
        const stuck = new Gate()
        await serve(new MemorySource(new Uint8Array(10), [BIG], async () => { await stuck.pass() }))
        const honest = await connect()
        const fetcher = new BareFetcher(await dial())
        fetcher.send(...frames)
        await fetcher.closed
        stuck.open()
        assert.equal((await honest.read(DIGEST, 0, limits.BLOCK_CHUNK_BYTES)).sha256, BIG.file.chunks[0])
        assert.ok(events.some(({ type }) => type === 'stream-aborted'))
      })
    }
  })

  describe('a hostile peer', () => {
    for (const { id, frames } of [
      { id: 'contents that nobody asked for', frames: [encodeContents(99, Buffer.alloc(10))] },
      { id: 'more than was asked for', frames: [encodeContents(1, Buffer.alloc(11))] },
      { id: 'sizes in place of contents', frames: [encodeSizesReply(1, [1])] },
      { id: 'the end of a read that was not cancelled', frames: [encodeCancelled(1)] },
      { id: 'a frame of a fetcher', frames: [encodeCancel(1)] }
    ]) {
      it(`that answers a read with ${id} is left`, async () => {
        await peer.libp2p.handle(limits.BLOCKS_PROTOCOL, stream => {
          stream.addEventListener('message', () => { for (const frame of frames) stream.send(frame) }, { once: true })
        })
        const client = await connect()
        await assert.rejects(client.read(DIGEST, 0, 10), hasCode('malformed'))
        assert.ok(client.closed)
      })
    }
  })
})
