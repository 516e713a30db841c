import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LapProfile } from '../../node/client/lap-profile.js'
import { SwarmClient, SwarmPeer, type SwarmPeerInit } from '../../node/index.js'
import { convertCheckpoint } from '../../model-tools/index.js'
import { DEMO_CHECKPOINT } from '../../scripts/demo-bundle.js'
import { LOGIT_TOLERANCE, reference } from '../fixtures/reference.js'

const GREEDY = { temperature: 0, topK: 0, topP: 1, seed: 0 }

type Share = Pick<SwarmPeerInit, 'layers' | 'experts'>

/** Two blocks a layer: a process that holds one peer per block of it is busy enough. */
const BLOCK_EXPERTS = 16

/** A share of the demo model for each peer of a swarm. */
const SWARMS: Array<{ name: string, shares: Share[] }> = [
  { name: 'three peers that hold layers', shares: [{ layers: '0-3' }, { layers: '2-5' }, { layers: '0-1,4-5' }] },
  { name: 'three peers that each hold a part of every layer', shares: [{ experts: '0-15' }, { experts: '16-31' }, { experts: '0-15' }] },
  { name: 'one peer per block', shares: [0, 1, 2, 3, 4, 5].flatMap(layer => ['0-15', '16-31'].map(experts => ({ layers: String(layer), experts }))) }
]

describe('generation through a swarm, f32 bundle, fp32 on the wire', function () {
  this.timeout(180_000)

  let model: string

  before(async () => {
    model = await mkdtemp(join(tmpdir(), 'moeswarm-swarm-'))
    await convertCheckpoint({ checkpoint: DEMO_CHECKPOINT, out: model, quant: 'f32', blockExperts: BLOCK_EXPERTS })
  })

  after(async () => { await rm(model, { recursive: true }) })

  for (const { name, shares } of SWARMS) {
    describe(name, () => {
      const peers: SwarmPeer[] = []
      let client: SwarmClient | undefined

      before(async () => {
        for (const share of shares) peers.push(await SwarmPeer.start({ model, threads: 1, bootstrap: peers.slice(0, 1).map(first => first.addresses[0]), ...share }))
        client = await SwarmClient.open({ model, bootstrap: [peers[0].addresses[0]], wire: 'fp32' })
      })

      after(async () => {
        await client?.close()
        for (const peer of peers.reverse()) await peer.stop()
      })

      it('continues every reference prompt with the reference\'s tokens and logits', async () => {
        for (const { ids, greedy_ids: expected, top10 } of reference.prompts) {
          let compared = 0
          await client!.logits(ids, 64, (position, logits) => {
            if (position !== ids.length - 1) return
            compared = top10.length
            for (const { id, logit } of top10) assert.ok(Math.abs(logits[id] - logit) < LOGIT_TOLERANCE, `logit of ${id}: ${logits[id]} instead of ${logit}`)
          }, new LapProfile())
          assert.equal(compared, 10)
          const tokens: number[] = []
          for await (const event of client!.generate(ids, { maxTokens: expected.length, sampling: GREEDY, stopTokenIds: [] })) {
            if (event.type === 'token') tokens.push(event.id)
          }
          assert.deepEqual(tokens, expected)
        }
        const stats = client!.peers()
        assert.deepEqual(stats.filter(peer => peer.failures > 0), [])
        assert.deepEqual([...new Set(stats.flatMap(peer => peer.layers))].sort(), [0, 1, 2, 3, 4, 5])
      })
    })
  }
})
