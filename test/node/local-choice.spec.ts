import assert from 'node:assert/strict'
import { chooseLocalLayers } from '../../node/client/local-choice.js'

describe('the choice of local layers', () => {
  const candidates = [5, 40, 20, Infinity, 20].map((expectedMs, layer) => ({ layer, bytes: 100, expectedMs }))

  for (const [budget, expected] of [[99, []], [100, [3]], [299, [1, 3]], [300, [1, 2, 3]], [450, [1, 2, 3, 4]], [500, [0, 1, 2, 3, 4]]] as const) {
    it(`within ${budget} is ${expected.join(', ') || 'none'}: what nobody holds, then what is slowest`, () => {
      assert.deepEqual(chooseLocalLayers(candidates, budget), expected)
    })
  }

  it('passes over a layer that is too large for the rest', () => {
    assert.deepEqual(chooseLocalLayers([{ layer: 0, bytes: 60, expectedMs: 9 }, { layer: 1, bytes: 50, expectedMs: 8 }, { layer: 2, bytes: 40, expectedMs: 7 }], 100), [0, 2])
  })
})
