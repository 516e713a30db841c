import assert from 'node:assert/strict'
import { chain, type Draft, type Drafter, type Generation, type GenerateInit, ModelError, SwarmClient } from '../../../node/index.js'
import { demoBundle } from '../../../scripts/demo-bundle.js'
import { seeded } from '../../../scripts/seeded.js'

const PROMPT = 'Once upon a time there was a small bear who'
const TOKENS = 60

describe('a drafter that is given to a client', function () {
  this.timeout(120_000)
  let propose: Drafter['draft']
  let client: SwarmClient

  before(async () => {
    const drafter: Drafter = { draft: async (context, length) => await propose(context, length) }
    client = await SwarmClient.open({ model: await demoBundle('f32'), localLayers: 'all', threads: 1, drafter, reusePrefixes: false })
  })
  after(async () => { await client.close() })

  async function write (options: GenerateInit): Promise<Generation> {
    for await (const event of client.generate(PROMPT, { maxTokens: TOKENS, stopTokenIds: [], ...options })) if (event.type === 'done') return event.generation
    throw new Error('no result')
  }

  for (const [name, sampling] of [['greedy', { temperature: 0 }], ['sampled', { temperature: 1, topK: 64, topP: 0.95, seed: 3 }]] as const) {
    it(`changes nothing of the ${name} text, though it is wrong now and then, by a chain or by alternatives`, async () => {
      const plain = await write({ draft: 'none', sampling })
      const known = [...plain.promptTokens, ...plain.tokens]
      for (const tree of [false, true]) {
        const random = seeded(5)
        let [drafted, wrong] = [0, 0]
        propose = ({ tokens }, length): Draft => {
          const draft: Draft = { tokens: [], parents: [] }
          let parent = 0
          for (const [i, token] of known.slice(tokens.length, tokens.length + length).entries()) {
            const mistaken = random() < 0.3
            drafted++
            if (mistaken) wrong++
            draft.tokens.push(mistaken ? (token + 1) % client.config.vocabSize : token)
            draft.parents.push(tree ? parent : i)
            if (!mistaken) parent = draft.tokens.length
          }
          return draft
        }
        const { tokens, text, speculation } = await write({ draft: 'own', draftTokens: 4, sampling })
        assert.deepEqual(tokens, plain.tokens)
        assert.equal(text, plain.text)
        assert.ok(wrong > 5 && wrong < drafted)
        assert.ok(speculation.laps < 0.6 * TOKENS, `${speculation.laps} laps`)
        assert.equal(speculation.drafters.own?.drafted, drafted)
        assert.ok(speculation.accepted > 0 && speculation.accepted <= drafted - wrong)
      }
    })
  }

  it('is asked by auto too, where it is right', async () => {
    const { promptTokens, tokens } = await write({ draft: 'none', sampling: { temperature: 0 } })
    let asked = 0
    propose = (context, length) => {
      asked++
      return chain([...promptTokens, ...tokens].slice(context.tokens.length, context.tokens.length + length))
    }
    const auto = await write({ draft: 'auto', sampling: { temperature: 0 } })
    assert.deepEqual(auto.tokens, tokens)
    assert.ok(asked > 0)
    assert.equal(auto.speculation.drafters.own?.laps, asked)
  })

  const none: Record<string, (length: number) => Draft> = {
    'too many tokens': length => chain(new Array<number>(length + 1).fill(5)),
    'tokens of no vocabulary': () => chain([-1]),
    'a parent that comes later': () => ({ tokens: [5, 6], parents: [1, 0] }),
    'fewer parents than tokens': () => ({ tokens: [5, 6], parents: [0] })
  }
  for (const [what, make] of Object.entries(none)) {
    it(`is told of a draft of ${what}`, async () => {
      propose = (_, length) => make(length)
      await assert.rejects(write({ draft: 'own', draftTokens: 2 }), error => error instanceof ModelError && error.code === 'out-of-range')
    })
  }

  it('ends a generation by what it throws', async () => {
    propose = () => { throw new Error('out of ideas') }
    await assert.rejects(write({ draft: 'own', draftTokens: 2 }), /out of ideas/)
  })

  it('must be there when it is asked for', async () => {
    const without = await SwarmClient.open({ model: await demoBundle('f32'), localLayers: 'all', threads: 1 })
    try {
      await assert.rejects(without.generate(PROMPT, { draft: 'own' }).next(), error => error instanceof ModelError && error.code === 'unsupported')
    } finally {
      await without.close()
    }
  })
})
