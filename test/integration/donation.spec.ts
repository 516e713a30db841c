import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DonateInit, fetchBundle, SwarmClient, SwarmPeer } from '../../node/index.js'
import { PROCESS_GROWTH_BYTES } from '../../node/donation.js'
import { expertHostBytes, hostBaseBytes } from '../../node/host/expert-host.js'
import { Bundle } from '../../model-tools/index.js'
import { DEMO_CHECKPOINT, demoBundle } from '../../scripts/demo-bundle.js'
import { reference } from '../fixtures/reference.js'

/** Several peers share this test's process, so what it measures says nothing of one: what a peer has of its own is left out of the donation. */
const RESIDENT_BYTES = -hostBaseBytes(1) - PROCESS_GROWTH_BYTES

const GREEDY = { temperature: 0, topK: 0, topP: 1, seed: 0 }

describe('volunteers that donate', function () {
  this.timeout(120_000)
  let scratch: string
  let model: Bundle
  const peers: SwarmPeer[] = []

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'moeswarm-donate-'))
    model = await Bundle.open(await demoBundle('f32'))
  })

  afterEach(async () => { for (const peer of peers.splice(0).reverse()) await peer.stop() })
  after(async () => { await rm(scratch, { recursive: true }) })

  /** A volunteer without any weights that donates room for a share of the model. */
  async function volunteer (name: string, share: number, more: Partial<DonateInit> = {}): Promise<SwarmPeer> {
    const peer = await SwarmPeer.start({
      model: model.id, threads: 1, bootstrap: [peers[0].addresses[0]], donate: {
        bytes: expertHostBytes(model, model.blocks) * share, residentBytes: () => RESIDENT_BYTES, dir: join(scratch, name), ...more
      }
    })
    peers.push(peer)
    return peer
  }

  it('that start at the same moment cover the model as soon as they serve, even where together they have room for it just once', async () => {
    peers.push(await SwarmPeer.start({ model: model.dir, threads: 1 }))
    // Nobody ever looks again: what they agreed on before they fetched anything is what counts.
    const volunteers = await Promise.all(['x', 'y', 'z'].map(async name => await volunteer(name, 0.34, { reviewIntervalMs: 3_600_000 })))
    const held = volunteers.flatMap(peer => peer.blocks.map(block => block.file))
    assert.deepEqual(held.sort(), model.blocks.map(block => block.file).sort())
  })

  it('cover the model with nothing but one seeder, and go on without it', async () => {
    peers.push(await SwarmPeer.start({ model: model.dir, threads: 1 }))
    const volunteers = await Promise.all(['a', 'b', 'c'].map(async name => await volunteer(name, 0.5)))
    const covered = new Set(volunteers.flatMap(peer => peer.blocks.map(block => block.file)))
    assert.deepEqual([...covered].sort(), model.blocks.map(block => block.file).sort())
    for (const peer of volunteers) assert.ok(expertHostBytes(model, peer.blocks) <= expertHostBytes(model, model.blocks) / 2)

    const client = join(scratch, 'client')
    const fetched = await fetchBundle({ model: model.id, out: client, part: 'client', bootstrap: [peers[0].addresses[0]] })
    assert.equal(fetched.id, model.id)
    assert.deepEqual((await readdir(client)).sort(), ['client', 'manifest.json', 'text'])

    await peers.shift()!.stop()
    const swarm = await SwarmClient.open({ model: client, bootstrap: [peers[0].addresses[0]], wire: 'fp32' })
    try {
      const { ids, greedy_ids: expected } = reference.prompts[2]
      const tokens: number[] = []
      for await (const event of swarm.generate(ids, { maxTokens: expected.length, sampling: GREEDY, stopTokenIds: [] })) {
        if (event.type === 'token') tokens.push(event.id)
      }
      assert.deepEqual(tokens, expected)
    } finally {
      await swarm.close()
    }
  })

  it('take what no peer has from the checkpoint, and only that', async () => {
    peers.push(await SwarmPeer.start({ model: model.dir, layers: '0-2', threads: 1 }))
    const only = join(scratch, 'from-source')
    const peer = await volunteer('from-source', 0.25, { source: DEMO_CHECKPOINT })
    assert.ok(peer.blocks.every(block => block.layer > 2), 'holes come first')
    const files = (await readdir(join(only, 'experts'), { recursive: true })).filter(file => file.endsWith('.bin'))
    assert.equal(files.length, peer.blocks.length)
  })

  it('say what is wrong with a donation that holds no block', async () => {
    peers.push(await SwarmPeer.start({ model: model.dir, layers: '0', threads: 1 }))
    await assert.rejects(volunteer('poor', 0.001), { name: 'SwarmError', code: 'bad-argument', message: /smallest takes/ })
  })
})
