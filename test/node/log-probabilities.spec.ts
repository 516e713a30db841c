import assert from 'node:assert/strict'
import { logProbabilities } from '../../node/client/log-probabilities.js'

describe('log-probabilities', () => {
  it('are the logarithm of the softmax, most likely first', () => {
    const logits = Float32Array.of(1, 3, 2, -Infinity)
    const { id, logProbability, top } = logProbabilities(logits, 2, 3)
    const sum = Math.exp(1) + Math.exp(2) + Math.exp(3)
    assert.equal(id, 2)
    assert.ok(Math.abs(logProbability - Math.log(Math.exp(2) / sum)) < 1e-12)
    assert.deepEqual(top.map(each => each.id), [1, 2, 0])
    assert.ok(Math.abs(top.reduce((all, each) => all + Math.exp(each.logProbability), 0) - 1) < 1e-12)
  })

  it('survive logits of any size', () => {
    const { logProbability } = logProbabilities(Float32Array.of(10_000, 9_999), 0, 0)
    assert.ok(Math.abs(logProbability - Math.log(1 / (1 + Math.exp(-1)))) < 1e-6)
  })

  it('refuse more alternatives than the limit', () => {
    assert.throws(() => logProbabilities(Float32Array.of(1, 2), 0, 21), { code: 'out-of-range' })
  })
})
