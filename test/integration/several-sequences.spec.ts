import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fetchBundle } from '../../node/fetch-bundle.js'
import { hostBaseBytes, expertHostBytes } from '../../node/host/memory.js'
import { SwarmClient, SwarmPeer } from '../../node/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { reference } from '../fixtures/reference.js'

const GREEDY = { temperature: 0, topK: 0, topP: 1, seed: 0 }
const TOKENS = 24

describe('a client of two peers, f32 bundle, fp32 on the wire', function () {
  this.timeout(180_000)
  let model: string
  const peers: SwarmPeer[] = []

  before(async () => {
    model = await demoBundle('f32')
    for (const layers of ['0-3', '2-4']) peers.push(await SwarmPeer.start({ model, layers, threads: 1, bootstrap: peers.map(first => first.addresses[0]) }))
  })

  after(async () => {
    for (const peer of peers.reverse()) await peer.stop()
  })

  async function tokensOf (client: SwarmClient, ids: number[], signal?: AbortSignal): Promise<number[]> {
    const tokens: number[] = []
    for await (const event of client.generate(ids, { maxTokens: TOKENS, sampling: GREEDY, stopTokenIds: [], signal })) if (event.type === 'token') tokens.push(event.id)
    return tokens
  }

  it('gives 8 sequences at a time the tokens that each gets alone, 5 under way and the others in turn', async () => {
    const client = await SwarmClient.open({ model, bootstrap: [peers[0].addresses[0]], wire: 'fp32', localLayers: [5], maxSequences: 5 })
    try {
      const prompts = Array.from({ length: 8 }, (_, i) => reference.prompts[i % reference.prompts.length].ids)
      const alone: number[][] = []
      for (const ids of prompts) alone.push(await tokensOf(client, ids))
      assert.deepEqual(alone[0], reference.prompts[0].greedy_ids.slice(0, TOKENS))
      const together = prompts.map(async ids => await tokensOf(client, ids))
      assert.deepEqual(client.load, { running: 5, waiting: 3 })
      const abort = new AbortController()
      const cancelled = tokensOf(client, prompts[0], abort.signal)
      abort.abort()
      await assert.rejects(cancelled)
      assert.deepEqual(await Promise.all(together), alone)
      assert.deepEqual(client.load, { running: 0, waiting: 0 })
    } finally {
      await client.close()
    }
  })

  it('computes the layer that nobody holds within its local memory, of files that it fetches', async () => {
    const out = await mkdtemp(join(tmpdir(), 'moeswarm-local-'))
    const bootstrap = [peers[0].addresses[0]]
    try {
      const bundle = await fetchBundle({ modelId: peers[0].bundle.id, out, part: 'client', bootstrap })
      assert.deepEqual(await bundle.heldBlocks(), [])
      const layerBytes = expertHostBytes(bundle, bundle.blocks.filter(({ layer }) => layer === 5))
      const localMemory = hostBaseBytes(1) + layerBytes
      await assert.rejects(SwarmClient.open({ model: out, bootstrap, localMemory: localMemory - 1, threads: 1 }), { name: 'ModelError', code: 'no-memory' })
      const client = await SwarmClient.open({ model: out, bootstrap, localMemory, threads: 1, wire: 'fp32' })
      try {
        assert.deepEqual([...client.localLayers], [5])
        assert.deepEqual(await tokensOf(client, reference.prompts[0].ids), reference.prompts[0].greedy_ids.slice(0, TOKENS))
        assert.deepEqual([...new Set(client.peers().flatMap(peer => peer.layers))].sort(), [0, 1, 2, 3, 4])
      } finally {
        await client.close()
      }
    } finally {
      await rm(out, { recursive: true })
    }
  })
})
