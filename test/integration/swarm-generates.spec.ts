import assert from 'node:assert/strict'
import { LapProfile } from '../../node/client/lap-profile.js'
import { SwarmClient, SwarmPeer, type SwarmPeerInit } from '../../node/index.js'
import { Bundle } from '../../model-tools/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { LOGIT_TOLERANCE, reference } from '../fixtures/reference.js'

const GREEDY = { temperature: 0, topK: 0, topP: 1, seed: 0 }

type Share = Pick<SwarmPeerInit, 'layers' | 'experts'>

/** A share of the demo model for each peer of a swarm. */
async function swarms (): Promise<Array<{ name: string, shares: Share[] }>> {
  const { blocks } = await Bundle.open(await demoBundle('f32'))
  return [
    { name: 'three peers that hold layers', shares: [{ layers: '0-3' }, { layers: '2-5' }, { layers: '0-1,4-5' }] },
    { name: 'three peers that each hold a part of every layer', shares: [{ experts: '0-15' }, { experts: '8-23' }, { experts: '24-31' }] },
    { name: 'one peer per block', shares: blocks.map(({ layer, firstExpert, experts }) => ({ layers: `${layer}`, experts: `${firstExpert}-${firstExpert + experts - 1}` })) }
  ]
}

describe('generation through a swarm, f32 bundle, fp32 on the wire', function () {
  this.timeout(180_000)

  for (const index of [0, 1, 2]) {
    describe(['three peers that hold layers', 'three peers that each hold a part of every layer', 'one peer per block'][index], () => {
      const peers: SwarmPeer[] = []
      let client: SwarmClient

      before(async () => {
        const model = await demoBundle('f32')
        const { shares } = (await swarms())[index]
        for (const share of shares) peers.push(await SwarmPeer.start({ model, threads: 1, bootstrap: peers.slice(0, 1).map(first => first.addresses[0]), ...share }))
        client = await SwarmClient.open({ model, bootstrap: [peers[0].addresses[0]], wire: 'fp32' })
      })

      after(async () => {
        await client.close()
        for (const peer of peers.reverse()) await peer.stop()
      })

      it('continues every reference prompt with the reference\'s tokens and logits', async () => {
        for (const { ids, greedy_ids: expected, top10 } of reference.prompts) {
          await client.logits(ids, 64, (position, logits) => {
            if (position !== ids.length - 1) return
            for (const { id, logit } of top10) assert.ok(Math.abs(logits[id] - logit) < LOGIT_TOLERANCE, `logit of ${id}: ${logits[id]} instead of ${logit}`)
          }, new LapProfile())
          for await (const event of client.generate(ids, { maxTokens: expected.length, sampling: GREEDY, stopTokenIds: [] })) {
            if (event.type === 'done') assert.deepEqual(event.generation.tokens, expected)
          }
        }
        const stats = client.peers()
        assert.ok(stats.every(peer => peer.failures === 0))
        assert.deepEqual([...new Set(stats.flatMap(peer => peer.layers))].sort(), [0, 1, 2, 3, 4, 5])
      })
    })
  }
})
