import assert from 'node:assert/strict'
import { argmax, mostLikely, Sampler } from '../../node/client/sampler.js'

const greedy = { temperature: 0, topK: 0, topP: 1, seed: 1 }

describe('Sampler', () => {
  it('takes the lowest id of the largest logit at temperature 0', () => {
    assert.equal(new Sampler(greedy).sample(Float32Array.of(1, 3, 3, 2), 0), 1)
    assert.equal(argmax(Float32Array.of(-2, -1, -3)), 1)
  })

  it('gives equal tokens for equal seeds and others for other seeds', () => {
    const logits = Float32Array.from({ length: 50 }, (_, i) => Math.sin(i))
    const draw = (seed: number): number[] => {
      const sampler = new Sampler({ temperature: 1, topK: 0, topP: 1, seed })
      return Array.from({ length: 40 }, (_, position) => sampler.sample(logits, position))
    }
    assert.deepEqual(draw(7), draw(7))
    assert.notDeepEqual(draw(7), draw(8))
  })

  it('draws with the probabilities of the softmax', () => {
    const logits = Float32Array.of(0, Math.log(2), Math.log(5))
    const sampler = new Sampler({ temperature: 1, topK: 0, topP: 1, seed: 3 })
    const counts = [0, 0, 0]
    for (let i = 0; i < 40_000; i++) counts[sampler.sample(logits, i)]++
    const expected = [1 / 8, 2 / 8, 5 / 8]
    counts.forEach((count, id) => { assert.ok(Math.abs(count / 40_000 - expected[id]) < 0.01, `token ${id}: ${count}`) })
  })

  it('divides logits by the temperature', () => {
    const sampler = new Sampler({ temperature: 0.5, topK: 0, topP: 1, seed: 3 })
    let ones = 0
    for (let i = 0; i < 40_000; i++) ones += sampler.sample(Float32Array.of(0, Math.log(2)), i)
    assert.ok(Math.abs(ones / 40_000 - 4 / 5) < 0.01, `${ones}`)
  })

  for (const { name, topK, topP, allowed } of [
    { name: 'top-k keeps the k most likely', topK: 2, topP: 1, allowed: [2, 3] },
    { name: 'top-p keeps the fewest that reach p', topK: 0, topP: 0.7, allowed: [2, 3] },
    { name: 'top-p keeps at least one', topK: 0, topP: 0.01, allowed: [3] },
    { name: 'top-p works on what top-k left', topK: 2, topP: 0.5, allowed: [3] }
  ]) {
    it(name, () => {
      const logits = Float32Array.of(Math.log(0.1), Math.log(0.2), Math.log(0.3), Math.log(0.4))
      const sampler = new Sampler({ temperature: 1, topK, topP, seed: 11 })
      const seen = new Set(Array.from({ length: 500 }, (_, position) => sampler.sample(logits, position)))
      assert.deepEqual([...seen].sort(), allowed)
    })
  }

  for (const bad of [{ temperature: -1 }, { temperature: NaN }, { topK: -1 }, { topK: 1.5 }, { topP: 0 }, { topP: 1.1 }, { seed: 0.5 }]) {
    it(`refuses ${JSON.stringify(bad)}`, () => {
      assert.throws(() => new Sampler({ ...greedy, ...bad }), { name: 'ModelError', code: 'out-of-range' })
    })
  }
})

describe('mostLikely', () => {
  it('agrees with a full sort, ties by id', () => {
    const logits = Float32Array.from({ length: 1000 }, (_, i) => (i * 7919) % 101)
    const sorted = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b)
    for (const k of [1, 2, 3, 64, 999, 1000, 2000]) assert.deepEqual([...mostLikely(logits, k)], sorted.slice(0, k), `k = ${k}`)
  })
})
