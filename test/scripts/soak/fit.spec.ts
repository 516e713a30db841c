import assert from 'node:assert/strict'
import { linearFit, verdict, windows } from '../../../scripts/soak/fit.js'

const pointsOf = (values: number[]): Array<{ minutes: number, value: number }> => values.map((value, minutes) => ({ minutes, value }))

describe('the line of a soak', () => {
  it('tells growth from noise', () => {
    const grows = linearFit(pointsOf([10, 12, 14, 16, 18]))
    assert.deepEqual([grows.first, grows.gained, grows.error], [10, 8, 0])
    assert.equal(verdict(grows, { share: 0.05, amount: 5 }), 'grows')
    assert.equal(verdict(linearFit(pointsOf([10, 16, 9, 15, 10, 17, 9, 16])), { share: 0, amount: 0 }), 'unclear', 'noise')
    assert.equal(verdict(linearFit(pointsOf([10, 16, 9, 15, 10, 17, 9, 16])), { share: 0, amount: 20 }), 'flat', 'noise that cannot hide so much')
    assert.equal(verdict(linearFit(pointsOf([18, 16, 14])), { share: 0, amount: 0 }), 'flat', 'shrinks')
  })

  it('allows a share of what was, or an amount', () => {
    const fit = { first: 100, gained: 6, error: 0 }
    assert.deepEqual([verdict(fit, { share: 0.05, amount: 5 }), verdict(fit, { share: 0.06, amount: 0 }), verdict(fit, { share: 0, amount: 6 })], ['grows', 'flat', 'flat'])
  })

  it('goes through the medians of windows', () => {
    assert.deepEqual(windows([{ minutes: 0, value: 1 }, { minutes: 0.1, value: 100 }, { minutes: 0.2, value: 2 }, { minutes: 1.5, value: 3 }], 1), [{ minutes: 0.5, value: 2 }, { minutes: 1.5, value: 3 }])
  })
})
