import assert from 'node:assert/strict'
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
})
