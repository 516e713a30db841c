import assert from 'node:assert/strict'
import { Sampler } from '../../../node/client/sampler.js'
import { confirm, confirmDraft } from '../../../node/client/speculation/index.js'

const VOCABULARY = 4
const HORIZON = 3
type Model = (before: readonly number[]) => number[]

/** Probabilities that depend on all that comes before. */
const target: Model = before => normal([0, 1, 2, 3].map(token => 1 + (before.reduce((sum, other, i) => sum + other * (i + 2), 0) * (token + 3) + token) % 5))
const draftModel: Model = before => normal([0, 1, 2, 3].map(token => 1 + (before.reduce((sum, other) => sum + other, 1) * (token + 2)) % 4))
/** Proposes two tokens, sometimes one or none: whatever it is, it must not show in the text. */
const fixedDraft = (before: readonly number[]): number[] => [(before.length + 1) % VOCABULARY, before.length % VOCABULARY].slice(0, (before.reduce((a, b) => a + b, 2)) % 3)

function normal (weights: number[]): number[] {
  const all = weights.reduce((a, b) => a + b, 0)
  return weights.map(weight => weight / all)
}

const logitsOf = (probabilities: number[]): Float32Array => Float32Array.from(probabilities, Math.log)

/** Probability of every text of HORIZON tokens by the model alone. */
function exact (): Map<string, number> {
  const texts = new Map<string, number>()
  const go = (before: number[], probability: number): void => {
    if (before.length === HORIZON) texts.set(before.join(), probability)
    else target(before).forEach((p, token) => { go([...before, token], probability * p) })
  }
  go([], 1)
  return texts
}

/** A text of HORIZON tokens with a draft in every lap. */
function speculate (draft: (before: number[]) => number[], choose: (before: number[]) => number): string {
  const text: number[] = []
  while (text.length < HORIZON) {
    const drafted = draft(text)
    text.push(...confirm(drafted, row => choose([...text, ...drafted.slice(0, row)])))
  }
  return text.slice(0, HORIZON).join()
}

/** sum of (found - expected)^2 / expected */
function chiSquare (counts: Map<string, number>, expected: Map<string, number>, samples: number): number {
  let sum = 0
  for (const [text, probability] of expected) sum += ((counts.get(text) ?? 0) - samples * probability) ** 2 / (samples * probability)
  return sum
}

/** With 63 degrees of freedom, chance alone gives more than this once in a thousand times. The seeds are fixed. */
const CRITICAL_63 = 103.4

describe('confirm', () => {
  it('takes the model\'s choices as far as the draft has the same, and one more', () => {
    const model = [5, 6, 7, 8]
    for (const [draft, expected] of [[[], [5]], [[5], [5, 6]], [[5, 6, 7], [5, 6, 7, 8]], [[5, 9, 7], [5, 6]], [[9], [5]]]) {
      assert.deepEqual(confirm(draft, row => model[row]), expected)
    }
  })

  it('follows the way of a tree that the model chooses', () => {
    // 5 then 6 or 8; 7 then 6.
    const tree = { tokens: [5, 7, 6, 8, 6], parents: [0, 0, 1, 1, 2] }
    for (const { model, tokens, rows } of [
      { model: [9], tokens: [9], rows: [0] },
      { model: [5, 9], tokens: [5, 9], rows: [0, 1] },
      { model: [5, 8, 6], tokens: [5, 8, 6], rows: [0, 1, 4] },
      { model: [7, 6, 1], tokens: [7, 6, 1], rows: [0, 2, 5] },
      { model: [7, 8], tokens: [7, 8], rows: [0, 2] }
    ]) assert.deepEqual(confirmDraft(tree, (_, depth) => model[depth]), { tokens, rows })
  })

  it('gives every text its probability, counted out over all choices of the model', () => {
    const texts = new Map<string, number>()
    const go = (text: number[], probability: number): void => {
      if (text.length >= HORIZON) {
        const key = text.slice(0, HORIZON).join()
        texts.set(key, (texts.get(key) ?? 0) + probability)
        return
      }
      const draft = fixedDraft(text)
      // Every sequence of choices that one lap can make, and its probability.
      const lap = (choices: number[], p: number): void => {
        const before = [...text, ...draft.slice(0, choices.length)]
        let asked = 0
        const tokens = confirm(draft, row => {
          asked = row
          return choices[row] ?? -1
        })
        if (asked < choices.length) go([...text, ...tokens], p)
        else target(before).forEach((q, token) => { lap([...choices, token], p * q) })
      }
      lap([], probability)
    }
    go([], 1)
    for (const [text, probability] of exact()) assert.ok(Math.abs((texts.get(text) ?? 0) - probability) < 1e-12, `${text}: ${texts.get(text)} instead of ${probability}`)
  })

  it('accepts a fixed token as often as the rule of speculative sampling does: min(1, p / q)', () => {
    const p = target([1])
    const samples = 40_000
    for (const drafted of [0, 1, 2, 3]) {
      let accepted = 0
      for (let seed = 0; seed < samples; seed++) {
        const sampler = new Sampler({ temperature: 1, topK: 0, topP: 1, seed })
        if (confirm([drafted], row => row > 0 ? 0 : sampler.sample(logitsOf(p), 1)).length === 2) accepted++
      }
      assert.ok(Math.abs(accepted / samples - p[drafted]) < 0.01, `${accepted / samples} instead of ${p[drafted]}`)
    }
  })
})

describe('sampling with speculation', () => {
  const samples = 30_000
  const expected = exact()
  const sampled = (draft: (before: number[], sampler: Sampler) => number[], choose = (before: number[], sampler: Sampler): number => sampler.sample(logitsOf(target(before)), before.length)): Map<string, number> => {
    const counts = new Map<string, number>()
    for (let seed = 0; seed < samples; seed++) {
      const sampler = new Sampler({ temperature: 1, topK: 0, topP: 1, seed })
      const text = speculate(before => draft(before, sampler), before => choose(before, sampler))
      counts.set(text, (counts.get(text) ?? 0) + 1)
    }
    return counts
  }
  const byModel = (before: number[], sampler: Sampler): number[] => {
    const first = sampler.sample(logitsOf(draftModel(before)), before.length)
    return [first, sampler.sample(logitsOf(draftModel([...before, first])), before.length + 1)]
  }

  for (const [name, draft] of [['without drafts', () => []], ['with fixed drafts', fixedDraft], ['with drafts by the same chance', byModel]] as const) {
    it(`gives texts with the model's probabilities ${name}`, () => {
      const found = chiSquare(sampled(draft), expected, samples)
      assert.ok(found < CRITICAL_63, `chi-square ${found}`)
    })
  }

  it('would show a rule that takes a draft at its word', () => {
    const gullible = sampled(byModel, (before, sampler) => before.length % 2 === 0 ? byModel(before, sampler)[0] : sampler.sample(logitsOf(target(before)), before.length))
    assert.ok(chiSquare(gullible, expected, samples) > 10 * CRITICAL_63)
  })

  it('gives the same text for the same seed whatever the draft is', () => {
    for (let seed = 0; seed < 200; seed++) {
      const sampler = new Sampler({ temperature: 1, topK: 0, topP: 1, seed })
      const choose = (before: number[]): number => sampler.sample(logitsOf(target(before)), before.length)
      const plain = speculate(() => [], choose)
      assert.equal(speculate(fixedDraft, choose), plain)
      assert.equal(speculate(before => byModel(before, sampler), choose), plain)
    }
  })

  it('agrees with a drafter of the same chance as often as its distribution allows', () => {
    const [p, q] = [target([2]), draftModel([2])]
    // P(equal) of an exponential race (Daliri et al. 2024, arXiv 2408.07978): at least (1 - TV) / (1 + TV), and more than by chances of their own.
    const equal = p.reduce((sum, _, i) => sum + 1 / p.reduce((all, _, j) => all + Math.max(p[j] / p[i], q[j] / q[i]), 0), 0)
    const apart = p.reduce((sum, own, i) => sum + own * q[i], 0)
    assert.ok(equal > apart)
    let count = 0
    for (let seed = 0; seed < samples; seed++) {
      const sampler = new Sampler({ temperature: 1, topK: 0, topP: 1, seed })
      if (sampler.sample(logitsOf(p), 1) === sampler.sample(logitsOf(q), 1)) count++
    }
    assert.ok(Math.abs(count / samples - equal) < 0.012, `${count / samples} instead of ${equal}`)
  })
})
