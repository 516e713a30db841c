import assert from 'node:assert/strict'
import { merged, sliced } from '../../node/expert-batch.js'
import { byExpert } from '../../node/host/batch.js'

const batch = {
  layer: 0,
  tokens: 3,
  hidden: new Float32Array(3),
  counts: Uint16Array.of(2, 0, 3),
  experts: Uint16Array.of(5, 2, 2, 7, 4),
  weights: Float32Array.of(0.5, 0.25, 1, 2, 3)
}

describe('byExpert', () => {
  it('turns rows by token into rows by expert', () => {
    assert.deepEqual(byExpert(batch), {
      experts: Uint16Array.of(2, 4, 5, 7), counts: Uint16Array.of(2, 1, 1, 1), rows: Uint16Array.of(0, 2, 2, 0, 2), weights: Float32Array.of(0.25, 1, 3, 0.5, 2)
    })
  })
})

describe('sliced', () => {
  it('cuts a batch by token, and what is put together again is the batch', () => {
    const slices = sliced({ ...batch, hidden: Float32Array.of(1, 2, 3, 4, 5, 6) }, 2)
    assert.deepEqual(slices.map(({ tokens, experts }) => [tokens, ...experts]), [[2, 5, 2], [1, 2, 7, 4]])
    assert.deepEqual(merged(slices), { ...batch, hidden: Float32Array.of(1, 2, 3, 4, 5, 6) })
    assert.deepEqual(sliced(batch, 3), [batch])
  })
})
