import assert from 'node:assert/strict'
import { SwarmClient, SwarmPeer, type SwarmClientInit } from '../../node/index.js'
import { convertCheckpoint, synthesize } from '../../model-tools/index.js'
import { temporaryDirectory } from '../model-tools/fixtures.js'

const GREEDY = { temperature: 0, topK: 0, topP: 1, seed: 0 }
const SHARES = ['0-3', '2-6', '0-1,4-6']

describe('Gemma 3, a dense model, through a swarm', function () {
  this.timeout(60_000)
  const temporary = temporaryDirectory()
  const prompt = Array.from({ length: 80 }, (_, i) => (i * 977 + 500) % 1024)
  const peers: SwarmPeer[] = []
  let model: string

  before(async () => {
    const { path } = await synthesize({ shape: 'gemma-3-tiny', format: 'safetensors', out: temporary.sub('checkpoint'), seed: 1 })
    model = temporary.sub('bundle')
    await convertCheckpoint({ checkpoint: path, out: model, quant: 'f32', threads: 1 })
    for (const layers of SHARES) peers.push(await SwarmPeer.start({ model, layers, threads: 1, bootstrap: peers.slice(0, 1).map(first => first.addresses[0]) }))
  })

  after(async () => { for (const peer of peers.reverse()) await peer.stop() })

  async function continued (init: Partial<SwarmClientInit>): Promise<{ tokens: number[], layers: number[] }> {
    const client = await SwarmClient.open({ model, ...init })
    try {
      let tokens: number[] = []
      for await (const event of client.generate(prompt, { maxTokens: 12, sampling: GREEDY, stopTokenIds: [] })) {
        if (event.type === 'done') tokens = event.generation.tokens
      }
      return { tokens, layers: [...new Set(client.peers().flatMap(peer => peer.layers))].sort() }
    } finally {
      await client.close()
    }
  }

  it('writes the tokens of the local run, with every layer\'s MLP on peers', async () => {
    const local = await continued({ localLayers: 'all' })
    assert.equal(local.tokens.length, 12)
    const remote = await continued({ bootstrap: [peers[0].addresses[0]], wire: 'fp32' })
    assert.deepEqual(remote, { tokens: local.tokens, layers: [0, 1, 2, 3, 4, 5, 6] })
    assert.deepEqual((await continued({ bootstrap: [peers[0].addresses[0]], wire: 'fp32', localLayers: [0, 5] })).tokens, local.tokens)
  })
})
