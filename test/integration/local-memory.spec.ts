import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fetchBundle } from '../../node/fetch-bundle.js'
import { expertHostBytes, hostBaseBytes } from '../../node/host/memory.js'
import { Bundle, SwarmClient, type SwarmClientInit, SwarmPeer } from '../../node/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { reference } from '../fixtures/reference.js'

const GREEDY = { temperature: 0, topK: 0, topP: 1, seed: 0 }
const TOKENS = 24
const LAST_LAYER = 5

describe('local memory beside two peers that lack the last layer, f32 bundle, fp32 on the wire', function () {
  this.timeout(180_000)
  let scratch: string
  let bundle: Bundle
  let model: string
  let bootstrap: string[]
  const peers: SwarmPeer[] = []

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'moeswarm-local-'))
    model = await demoBundle('f32')
    bundle = await Bundle.open(model)
    for (const layers of ['0-3', '2-4']) await startPeer({ layers })
    bootstrap = [peers[0].addresses[0]]
  })

  after(async () => {
    for (const peer of peers.reverse()) await peer.stop()
    await rm(scratch, { recursive: true })
  })

  async function startPeer (held: { layers: string, experts?: string }): Promise<SwarmPeer> {
    const peer = await SwarmPeer.start({ model, ...held, threads: 1, bootstrap: peers.map(first => first.addresses[0]) })
    peers.push(peer)
    return peer
  }

  /** Memory of some blocks, the first ones of the last layer, and of what a host takes without any. */
  function memoryFor (blocks: number): number {
    return hostBaseBytes(1) + expertHostBytes(bundle, bundle.blocks.filter(({ layer }) => layer === LAST_LAYER).slice(0, blocks))
  }

  async function withClient (init: Omit<SwarmClientInit, 'model'> & { model?: string }, body: (client: SwarmClient) => Promise<void>): Promise<void> {
    const client = await SwarmClient.open({ model, bootstrap, threads: 1, wire: 'fp32', ...init })
    try {
      await body(client)
    } finally {
      await client.close()
    }
  }

  async function assertReference (client: SwarmClient): Promise<void> {
    const { ids, greedy_ids: expected } = reference.prompts[0]
    const tokens: number[] = []
    for await (const event of client.generate(ids, { maxTokens: TOKENS, sampling: GREEDY, stopTokenIds: [] })) if (event.type === 'token') tokens.push(event.id)
    assert.deepEqual(tokens, expected.slice(0, TOKENS))
  }

  it('computes the layer that nobody holds, of files that it fetches, and does not wait for peers that nobody is', async () => {
    const out = join(scratch, 'client.bundle')
    const fetched = await fetchBundle({ model: bundle.id, out, part: 'client', bootstrap })
    assert.deepEqual(await fetched.heldBlocks(), [])
    await assert.rejects(SwarmClient.open({ model: out, bootstrap, localMemory: memoryFor(1) - 1, threads: 1 }), { name: 'ModelError', code: 'no-memory' })
    await withClient({ model: out, localMemory: memoryFor(4) }, async client => {
      assert.deepEqual([...client.localLayers], [LAST_LAYER])
      assert.deepEqual(client.partlyLocal, [])
      await assertReference(client)
      assert.deepEqual([...new Set(client.peers().flatMap(peer => peer.layers))].sort(), [0, 1, 2, 3, 4])
    })
  })

  it('says what is missing when it cannot hold all of that', async () => {
    await assert.rejects(withClient({ localMemory: memoryFor(3) }, async () => {}), { name: 'SwarmError', code: 'coverage-incomplete' })
  })

  it('computes hot blocks of a layer whose others are at peers, which are counted from run to run', async () => {
    const stateDir = join(scratch, 'state')
    await withClient({ localLayers: [LAST_LAYER], stateDir }, assertReference)
    const [file] = await readdir(stateDir)
    const uses = JSON.parse(await readFile(join(stateDir, file), 'utf8')) as number[][]
    const localMemory = memoryFor(4) + memoryFor(2) - hostBaseBytes(1)
    await withClient({ localLayers: [LAST_LAYER], localMemory, stateDir }, async client => {
      assert.deepEqual([...client.localLayers], [LAST_LAYER])
      const [{ layer, experts }] = client.partlyLocal
      assert.equal(client.partlyLocal.length, 1)
      const blocks = bundle.blocks.filter(block => block.layer === layer)
        .map(({ firstExpert, experts: count }) => ({ firstExpert, uses: uses[layer].slice(firstExpert, firstExpert + count).reduce((a, b) => a + b) }))
        .sort((a, b) => b.uses - a.uses)
      assert.deepEqual([...new Set(experts.map(expert => expert - expert % 8))], blocks.slice(0, 2).map(({ firstExpert }) => firstExpert).sort((a, b) => a - b))
      await assertReference(client)
      assert.ok(client.peers().some(peer => peer.layers.includes(layer)), 'the other blocks are asked for')
    })
  })

  it('fills a hole in a layer that peers hold otherwise', async () => {
    await startPeer({ layers: '5', experts: '0-23' })
    await withClient({ localMemory: memoryFor(1) }, async client => {
      assert.deepEqual(client.partlyLocal, [{ layer: LAST_LAYER, experts: [24, 25, 26, 27, 28, 29, 30, 31] }])
      await assertReference(client)
      assert.ok(client.peers().some(peer => peer.layers.includes(LAST_LAYER)))
    })
  })
})
