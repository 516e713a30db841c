import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { multiaddr } from '@multiformats/multiaddr'
import { connectBlocks } from '../../../swarm/blocks/connect.js'
import { FileStore } from '../../../swarm/blocks/file-store.js'
import type { BlocksConnection, BlockSource, ConnectBlocksInit, FetchProgress, ServeBlocksInit } from '../../../swarm/blocks/interface.js'
import { serveBlocks } from '../../../swarm/blocks/service.js'
import { BLOCK_CHUNK_BYTES, BLOCKS_PROTOCOL } from '../../../swarm/constants.js'
import { isSwarmError, type SwarmErrorCode } from '../../../swarm/errors.js'
import type { SwarmEvent } from '../../../swarm/events.js'
import type { SwarmHost } from '../../../swarm/host.js'
import { contentOf, MemorySink, MemorySource } from '../fixtures/contents.js'
import { Gate } from '../fixtures/gate.js'
import { TestHosts } from '../fixtures/hosts.js'
import { seeded } from '../../../scripts/seeded.js'

const MANIFEST = new TextEncoder().encode('{"format":"test"}')
const A = contentOf('experts/a.bin', 3 * BLOCK_CHUNK_BYTES + 12_345)
const B = contentOf('experts/b.bin', 2 * BLOCK_CHUNK_BYTES)
const C = contentOf('text/c.txt', 10)
const ALL = [A, B, C]
const FILES = ALL.map(({ file }) => file)
const CHUNKS = FILES.reduce((sum, { chunks }) => sum + chunks.length, 0)

function hasCode (code: SwarmErrorCode) {
  return (error: unknown): boolean => isSwarmError(error, code) || assert.fail(`${String(error)} is not ${code}`)
}

describe('fetching blocks', () => {
  const hosts = new TestHosts()
  const connections: BlocksConnection[] = []
  let events: SwarmEvent[]
  let bootstrap: string[]

  beforeEach(async () => {
    events = []
    bootstrap = [(await hosts.start()).addresses[0]]
  })
  afterEach(async () => {
    await Promise.all(connections.splice(0).map(async connection => { await connection.stop() }))
    await hosts.stopAll()
  })

  const serve = async (source: BlockSource, init: Partial<ServeBlocksInit> = {}): Promise<SwarmHost> => {
    const host = await hosts.start({ bootstrap })
    await serveBlocks({ host, source, peerBytesPerSecond: Infinity, totalBytesPerSecond: Infinity, ...init })
    return host
  }
  const connect = async (init: Partial<ConnectBlocksInit> = {}): Promise<BlocksConnection> => {
    const host = await hosts.start({ dht: 'client', bootstrap })
    const connection = connectBlocks({
      host, modelId: new MemorySource(MANIFEST, []).modelId, random: seeded(1), patienceMs: 1_000, onEvent: event => { events.push(event) }, ...init
    })
    connections.push(connection)
    return connection
  }
  /** Of the same model, but every chunk that it sends has a wrong byte. */
  const liar = (): MemorySource => new MemorySource(MANIFEST, ALL.map(({ file, contents }) => ({ file, contents: contents.map(byte => byte ^ 1) })))

  const assertWhole = (sink: MemorySink): void => {
    for (const { file, contents } of ALL) assert.ok(Buffer.from(contents).equals(sink.files.get(file.path) ?? new Uint8Array(0)), file.path)
    assert.deepEqual([...new Set(sink.finished)].sort(), FILES.map(({ path }) => path).sort())
  }

  it('gets manifest and files from a peer found through the DHT', async () => {
    await serve(new MemorySource(MANIFEST, ALL))
    const connection = await connect()
    assert.deepEqual(await connection.fetchManifest(), MANIFEST)
    const sink = new MemorySink()
    const progress: FetchProgress[] = []
    const completed: string[] = []
    await connection.fetchFiles(FILES, sink, { onProgress: step => { progress.push(step) }, onFile: ({ path }) => { completed.push(path) } })
    assertWhole(sink)
    const totalBytes = FILES.reduce((sum, { bytes }) => sum + bytes, 0)
    assert.equal(sink.expectedBytes, totalBytes)
    assert.deepEqual(progress[0], { doneBytes: 0, totalBytes, peers: 0 })
    assert.deepEqual(progress.at(-1), { doneBytes: totalBytes, totalBytes, peers: 1 })
    assert.deepEqual(completed, sink.finished)
  })

  it('needs nobody for what is there', async () => {
    const connection = await connect()
    await serve(new MemorySource(MANIFEST, ALL))
    const sink = new MemorySink()
    await connection.fetchFiles(FILES, sink)
    await hosts.stopAll()
    await connection.fetchFiles(FILES, sink)
    assert.equal(sink.written.length, CHUNKS)
  })

  it('reads from several peers at once, each having a part', async () => {
    // Both hold their answers until the other has been asked, so neither can have sent all.
    const asked = new Gate()
    const gate = async (): Promise<void> => { await asked.pass() }
    const sources = [new MemorySource(MANIFEST, [A], gate), new MemorySource(MANIFEST, [B, C], gate)]
    for (const source of sources) await serve(source)
    const fetching = (await connect()).fetchFiles(FILES, new MemorySink())
    await asked.arrived(2)
    asked.open()
    await fetching
    assert.ok(sources.every(({ reads }) => reads.length > 0))
  })

  it('fetches the last chunks of a stuck peer elsewhere', async () => {
    const stuck = new Gate()
    await serve(new MemorySource(MANIFEST, ALL, async () => { await stuck.pass() }))
    const connection = await connect()
    const sink = new MemorySink()
    const fetching = connection.fetchFiles(FILES, sink)
    await stuck.arrived(1)
    await serve(new MemorySource(MANIFEST, ALL))
    await fetching
    assertWhole(sink)
    stuck.open()
  })

  it('waits for a file that a peer is still getting itself', async () => {
    const source = new MemorySource(MANIFEST, [A, C])
    await serve(source)
    const sink = new MemorySink()
    const connection = await connect({ patienceMs: 10_000 })
    await connection.fetchFiles(FILES, sink, {
      onFile: ({ path }) => { if (path === A.file.path) source.add(B.file, B.contents) }
    })
    assertWhole(sink)
  })

  it('refuses wrong chunks, leaves the peer, and goes on elsewhere', async () => {
    const evil = await serve(liar())
    const connection = await connect({ patienceMs: 10_000 })
    const sink = new MemorySink()
    const fetching = connection.fetchFiles(FILES, sink)
    await serve(new MemorySource(MANIFEST, ALL))
    await fetching
    assertWhole(sink)
    assert.ok(events.some(event => event.type === 'chunk-refused' && event.peerId === evil.peerId))
    assert.ok(events.some(event => event.type === 'blocks-peer-left' && event.peerId === evil.peerId && event.code === 'wrong-hash'))
    assert.equal(events.filter(event => event.type === 'blocks-peer-joined' && event.peerId === evil.peerId).length, 1)
  })

  it('refuses a wrong manifest and takes the right one', async () => {
    const honest = new MemorySource(MANIFEST, ALL)
    const evil = await serve({ modelId: honest.modelId, manifest: new TextEncoder().encode('{"format":"evil"}'), bytesOf: () => undefined, read: async () => new Uint8Array(0) })
    const connection = await connect({ patienceMs: 10_000 })
    const fetching = connection.fetchManifest()
    await serve(honest)
    assert.deepEqual(await fetching, MANIFEST)
    assert.ok(events.every(event => event.type !== 'chunk-refused' || event.peerId === evil.peerId))
  })

  it('goes on with another peer when one is killed in the middle', async () => {
    const stuck = new Gate()
    const dying = await serve(new MemorySource(MANIFEST, ALL, async () => { await stuck.pass() }))
    const connection = await connect({ patienceMs: 10_000 })
    const sink = new MemorySink()
    const fetching = connection.fetchFiles(FILES, sink)
    await stuck.arrived(1)
    stuck.letOne()
    await sink.stored.arrived(1)
    await Promise.all([dying.stop(), serve(new MemorySource(MANIFEST, ALL))])
    await fetching
    assertWhole(sink)
    stuck.open()
  })

  it('says what is missing when nobody is left, and a later call fetches only that', async () => {
    const stuck = new Gate()
    const dying = await serve(new MemorySource(MANIFEST, ALL, async () => { await stuck.pass() }))
    const connection = await connect()
    const sink = new MemorySink()
    const fetching = connection.fetchFiles(FILES, sink)
    await stuck.arrived(1)
    stuck.letOne()
    await sink.stored.arrived(1)
    await Promise.all([
      dying.stop(),
      assert.rejects(fetching, error => isSwarmError(error, 'blocks-unavailable') && error.data.missing.reduce((sum, { chunks }) => sum + chunks, 0) === CHUNKS - 1)
    ])
    stuck.open()
    await serve(new MemorySource(MANIFEST, ALL))
    await connection.fetchFiles(FILES, sink)
    assertWhole(sink)
    assert.equal(sink.written.length, CHUNKS)
    assert.equal(new Set(sink.written).size, CHUNKS)
  })

  it('gives on at once what a volunteer has got, when the first seeder is gone', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'moeswarm-blocks-'))
    try {
      const seeder = await serve(new MemorySource(MANIFEST, ALL))
      const modelId = new MemorySource(MANIFEST, []).modelId
      const store = await FileStore.open({ dir, modelId, manifest: MANIFEST, files: FILES })
      await (await connect()).fetchFiles(FILES, store)
      await seeder.stop()
      await serve(store)
      const sink = new MemorySink()
      await (await connect({ patienceMs: 10_000 })).fetchFiles(FILES, sink)
      assertWhole(sink)
    } finally {
      await rm(dir, { recursive: true })
    }
  })

  it('ends with its signal, and with its connection', async () => {
    const stuck = new Gate()
    await serve(new MemorySource(MANIFEST, ALL, async () => { await stuck.pass() }))
    const connection = await connect()
    const controller = new AbortController()
    const cancelled = connection.fetchFiles(FILES, new MemorySink(), { signal: controller.signal })
    await stuck.arrived(1)
    controller.abort()
    await assert.rejects(cancelled, hasCode('aborted'))
    await assert.rejects(connection.fetchManifest({ signal: AbortSignal.abort() }), hasCode('aborted'))
    const stopped = assert.rejects(connection.fetchFiles(FILES, new MemorySink()), hasCode('aborted'))
    await connection.stop()
    await stopped
    stuck.open()
  })

  it('passes on what its sink throws', async () => {
    await serve(new MemorySource(MANIFEST, ALL))
    const sink = new MemorySink()
    const failure = new Error('no more room')
    const open = sink.open.bind(sink)
    sink.open = async file => ({ ...await open(file), write: async () => { throw failure } })
    await assert.rejects((await connect()).fetchFiles(FILES, sink), failure)
  })

  for (const { id, file } of [
    { id: 'a path that leads out', file: { ...A.file, path: '../a.bin' } },
    { id: 'an absolute path', file: { ...A.file, path: '/a.bin' } },
    { id: 'a hidden segment', file: { ...A.file, path: 'experts/.a' } },
    { id: 'a size that does not fit its chunks', file: { ...A.file, bytes: 5 } },
    { id: 'a negative size', file: { ...A.file, bytes: -1, chunks: [] } },
    { id: 'a digest in capitals', file: { ...A.file, sha256: A.file.sha256.toUpperCase() } }
  ]) {
    it(`refuses to fetch ${id}`, async () => {
      await assert.rejects((await connect()).fetchFiles([file], new MemorySink()), hasCode('bad-argument'))
    })
  }

  describe('a serving peer', () => {
    it('lets go of the streams of fetchers that have ended', async () => {
      const host = await serve(new MemorySource(MANIFEST, ALL))
      const connection = await connect()
      for (let at = 0; at < 5; at++) await connection.fetchManifest()
      await connection.fetchFiles(FILES, new MemorySink())
      const open = host.libp2p.getConnections().flatMap(({ streams }) => streams).filter(({ protocol }) => protocol === BLOCKS_PROTOCOL)
      // The last one may be about to close.
      await Promise.all(open.map(async stream => { await once(stream as unknown as EventTarget, 'close') }))
    })

    it('asks for a rate that it can hold', async () => {
      await assert.rejects(serve(new MemorySource(MANIFEST, []), { peerBytesPerSecond: 1 }), hasCode('bad-argument'))
    })

    it('is found by its address alone', async () => {
      const host = await hosts.start()
      await serveBlocks({ host, source: new MemorySource(MANIFEST, ALL) })
      const fetcher = await hosts.start({ dht: 'client' })
      await fetcher.libp2p.dial(multiaddr(host.addresses[0]))
      const connection = connectBlocks({ host: fetcher, modelId: new MemorySource(MANIFEST, []).modelId })
      connections.push(connection)
      assert.deepEqual(await connection.fetchManifest(), MANIFEST)
    })
  })
})
