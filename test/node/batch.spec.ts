import assert from 'node:assert/strict'
import { groupByExpert } from '../../node/host/batch.js'

describe('groupByExpert', () => {
  const batch = {
    layer: 0,
    tokens: 3,
    hidden: new Float32Array(3),
    counts: Uint16Array.of(2, 0, 3),
    experts: Uint16Array.of(5, 2, 2, 7, 4),
    weights: Float32Array.of(0.5, 0.25, 1, 2, 3)
  }

  it('turns rows by token into rows by expert', () => {
    assert.deepEqual(groupByExpert(batch, 1), [{
      experts: Uint16Array.of(2, 4, 5, 7), counts: Uint16Array.of(2, 1, 1, 1), rows: Uint16Array.of(0, 2, 2, 0, 2), weights: Float32Array.of(0.25, 1, 3, 0.5, 2)
    }])
  })

  it('deals experts by their id modulo the workers', () => {
    const [even, odd] = groupByExpert(batch, 2)
    assert.deepEqual([...even!.experts], [2, 4])
    assert.deepEqual([...odd!.experts], [5, 7])
    assert.equal(groupByExpert(batch, 4)[3]!.experts[0], 7)
    assert.equal(groupByExpert({ ...batch, counts: Uint16Array.of(1), experts: Uint16Array.of(3), weights: Float32Array.of(1) }, 2)[0], undefined)
  })
})
