import assert from 'node:assert/strict'
import { type GenerateEvent, type GenerateInit, type Generation, SwarmClient } from '../../node/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'

const PROMPT = 'Once upon a time, there was a little'
const GREEDY = { temperature: 0 }

describe('the library\'s client', function () {
  this.timeout(120_000)
  let client: SwarmClient

  before(async () => { client = await SwarmClient.open({ model: await demoBundle('f32'), localLayers: 'all', threads: 1 }) })
  after(async () => { await client.close() })

  async function run (options: GenerateInit): Promise<{ events: GenerateEvent[], text: string, generation: Generation }> {
    const events: GenerateEvent[] = []
    let text = ''
    for await (const event of client.generate(PROMPT, options)) {
      events.push(event)
      if (event.type === 'token') text += event.text
    }
    const last = events.at(-1)
    assert.ok(last?.type === 'done')
    return { events, text, generation: last.generation }
  }

  it('ends before a stop string that spans tokens, and emits nothing of it', async () => {
    const { generation: free } = await run({ maxTokens: 40, sampling: GREEDY })
    const stop = free.text.slice(17, 26)
    assert.equal(free.text.indexOf(stop), 17)
    const { generation, text } = await run({ maxTokens: 40, sampling: GREEDY, stop: [stop] })
    assert.equal(generation.text, free.text.slice(0, 17))
    assert.equal(text, generation.text)
    assert.equal(generation.finishReason, 'stop')
    assert.ok(generation.tokens.length < free.tokens.length)
  })

  it('gives log-probabilities under which a greedy token is the most likely', async () => {
    const { events } = await run({ maxTokens: 8, sampling: GREEDY, logProbabilities: 5 })
    const steps = events.flatMap(event => event.type === 'token' ? [event] : [])
    assert.equal(steps.length, 8)
    for (const { id, logProbabilities } of steps) {
      assert.equal(logProbabilities!.top[0].id, id)
      assert.equal(logProbabilities!.top[0].logProbability, logProbabilities!.logProbability)
      const mass = logProbabilities!.top.reduce((all, each) => all + Math.exp(each.logProbability), 0)
      assert.ok(mass > 0 && mass <= 1 + 1e-9)
    }
  })

  it('generates several texts at a time, each as if it were alone', async () => {
    const seeds = [1, 2, 3]
    const options = (seed: number): GenerateInit => ({ maxTokens: 24, sampling: { temperature: 0.8, seed } })
    const alone: string[] = []
    for (const seed of seeds) alone.push((await run(options(seed))).generation.text)
    const together = await Promise.all(seeds.map(seed => run(options(seed))))
    assert.deepEqual(together.map(({ generation }) => generation.text), alone)
    assert.equal(new Set(alone).size, seeds.length)
  })

  it('takes a conversation, and fills the context without maxTokens', async () => {
    const { generation } = await run({ sampling: GREEDY, stopTokenIds: [] })
    assert.equal(generation.finishReason, 'context')
    for await (const event of client.generate([{ role: 'user', content: 'Tell me a story.' }], { maxTokens: 1 })) {
      if (event.type === 'done') assert.equal(event.generation.promptTokens[0], client.config.bosTokenId)
    }
  })

  it('ends with the reason of an aborted signal', async () => {
    const abort = new AbortController()
    const reason = new Error('enough')
    await assert.rejects(async () => {
      for await (const event of client.generate(PROMPT, { signal: abort.signal })) if (event.type === 'token') abort.abort(reason)
    }, reason)
  })
})
