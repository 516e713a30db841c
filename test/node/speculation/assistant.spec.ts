import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { AttentionClient } from '../../../node/client/attention-client.js'
import { LocalExperts } from '../../../node/client/local-experts.js'
import { argmax, Sampler } from '../../../node/client/sampler.js'
import { Assistant, chain } from '../../../node/client/speculation/index.js'
import { ExpertHost } from '../../../node/host/expert-host.js'
import { Bundle } from '../../../model-tools/index.js'
import { DEMO_DRAFTER, demoBundle } from '../../../scripts/demo-bundle.js'
import { LOGIT_TOLERANCE } from '../../fixtures/reference.js'

/** model-tools/demo-drafter/reference.json, see NOTES.md there. */
interface DrafterReference {
  cases: Array<{
    source: string
    ids: number[]
    q: number
    next_id: number
    hidden_first8: number[]
    draft_ids: number[]
    steps: Array<{ input_id: number, draft_id: number, top5: Array<{ id: number, logit: number }>, logits_first8: number[], step_hidden_first8: number[] }>
  }>
}

const { cases } = JSON.parse(readFileSync(join(DEMO_DRAFTER, 'reference.json'), 'utf8')) as DrafterReference

function near (found: ArrayLike<number>, expected: number[], what: string): void {
  expected.forEach((value, i) => { assert.ok(Math.abs(found[i] - value) < LOGIT_TOLERANCE, `${what} ${i}: ${found[i]} instead of ${value}`) })
}

describe('the assistant drafter, f32', function () {
  this.timeout(120_000)
  let host: ExpertHost
  let client: AttentionClient
  let assistant: Assistant

  before(async () => {
    const bundle = await Bundle.open(await demoBundle('f32'))
    host = await ExpertHost.load({ bundle, blocks: bundle.blocks, threads: 1 })
    client = await AttentionClient.load({ bundle, dispatcher: new LocalExperts(host), threads: 1 })
    const loaded = await Assistant.load(bundle, 1)
    assert.ok(loaded !== undefined)
    assistant = loaded
  })

  after(async () => {
    await assistant.close()
    await client.close()
    await host.stop()
  })

  for (const { source, ids, q, next_id: next, hidden_first8: first8, draft_ids: draftIds, steps } of cases) {
    it(`drafts as the reference does after ${source}`, async () => {
      const cache = client.newCache()
      for (let at = 0; at < ids.length; at += 100) await client.lap(ids.slice(at, Math.min(at + 100, ids.length - 1)), cache, { wanted: 'none' })
      const { states, logits } = await client.lap(ids.slice(-1), cache)
      assert.equal(cache.length, q)
      assert.equal(argmax(logits), next)
      near(states, first8, 'state')
      const fixed = assistant.fixedInputs(cache)
      const greedy = new Sampler({ temperature: 0, topK: 0, topP: 1, seed: 0 })
      let state = states
      for (const [i, step] of steps.entries()) {
        const { logits, probabilities, nextState } = await assistant.step([step.input_id], state, fixed)
        assert.equal(argmax(logits), step.draft_id, `step ${i}`)
        for (const { id, logit } of step.top5) assert.ok(Math.abs(logits[id] - logit) < LOGIT_TOLERANCE, `step ${i}, logit of ${id}: ${logits[id]} instead of ${logit}`)
        near(logits, step.logits_first8, `logit of step ${i}`)
        near(nextState, step.step_hidden_first8, `state of step ${i}`)
        const alone = greedy.likely(logits, q, 4)
        for (const [at, { token, share }] of greedy.likely(logits, q, 4, probabilities).entries()) {
          assert.equal(token, alone[at].token)
          assert.ok(Math.abs(share - alone[at].share) < 1e-5, `probability of ${token}: ${share} instead of ${alone[at].share}`)
        }
        state = nextState
      }
      const context = { tokens: [...ids, next], cache, state: states, pick: argmax }
      const drafted = await assistant.draft({ ...context, likely: logits => [{ token: argmax(logits), share: 1 }] }, draftIds.length)
      assert.deepEqual(drafted, chain(draftIds))
      const tree = await assistant.draft({ ...context, likely: greedy.likely.bind(greedy) }, 12)
      assert.equal(tree.tokens[0], draftIds[0])
      assert.ok(tree.parents.every((parent, place) => parent <= place && parent >= 0))
      assert.ok(tree.parents.some((parent, place) => parent !== place), 'twelve tokens hold alternatives')
      const ways = tree.tokens.map((token, place) => `${tree.parents[place]} ${token}`)
      assert.equal(new Set(ways).size, ways.length)
      // Shorter drafts compute the same alternatives in other company.
      for (const length of [1, 3, 6]) {
        const part = await assistant.draft({ ...context, likely: greedy.likely.bind(greedy) }, length)
        assert.deepEqual(part, { tokens: tree.tokens.slice(0, length), parents: tree.parents.slice(0, length) })
      }
      assert.equal(cache.length, q)
    })
  }
})
