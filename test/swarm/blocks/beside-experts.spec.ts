import assert from 'node:assert/strict'
import { connectBlocks } from '../../../swarm/blocks/connect.js'
import { serveBlocks } from '../../../swarm/blocks/service.js'
import { BLOCK_CHUNK_BYTES } from '../../../swarm/constants.js'
import { batchOf } from '../fixtures/batches.js'
import { contentOf, MemorySink, MemorySource } from '../fixtures/contents.js'
import { FakeCompute } from '../fixtures/fake-compute.js'
import { LAYERS, MODEL, slice, TestSwarm } from '../fixtures/swarms.js'

describe('blocks beside hidden states', () => {
  const swarm = new TestSwarm()
  afterEach(async () => { await swarm.stop() })

  it('let requests on the same connection through while they are on their way', async () => {
    const big = contentOf('experts/big.bin', 48 * BLOCK_CHUNK_BYTES)
    const source = new MemorySource(new TextEncoder().encode('{}'), [big])
    const { host } = await swarm.peer(slice(0, MODEL.experts), new FakeCompute())
    await serveBlocks({ host, source, peerBytesPerSecond: Infinity, totalBytesPerSecond: Infinity })
    const client = await swarm.join('client')
    const { dispatcher, ready } = await swarm.connect({ host: client })
    await ready()
    const blocks = connectBlocks({ host: client, modelId: source.modelId })
    const sink = new MemorySink(false)
    let fetched = false
    const fetching = blocks.fetchFiles([big.file], sink).then(() => { fetched = true })
    // The first chunk is there: the rest is under way.
    await sink.stored.arrived(1)
    sink.stored.open()
    const before = sink.written.length
    for (let at = 0; at < 5; at++) await dispatcher.dispatch(batchOf(at % LAYERS, MODEL.hiddenSize, [[1, 2]]))
    assert.equal(fetched, false, 'five small requests must not wait for 48 MiB')
    assert.ok(sink.written.length - before < 24, `${sink.written.length - before} MiB came before five requests were answered`)
    await fetching
    assert.equal(client.libp2p.getConnections().filter(({ remotePeer }) => remotePeer.toString() === host.peerId).length, 1)
    await blocks.stop()
  })
})
