import assert from 'node:assert/strict'
import { linearFit, pooled, verdict, windows } from '../../../scripts/soak/fit.js'

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

  it('is certain of growth only beyond what is allowed and two standard errors', () => {
    const allowed = { share: 0, amount: 5 }
    const told = (gained: number, error: number): string => verdict({ first: 100, gained, error }, allowed)
    assert.deepEqual([told(1, 2), told(1, 2.1), told(8, 1.5), told(8, 1.4), told(-20, 13)], ['flat', 'unclear', 'unclear', 'grows', 'unclear'])
  })

  it('of several processes is as sure as they agree, and no surer than their own', () => {
    const fits = [1, 3, 5].map(gained => ({ first: 10 * gained, gained, error: 0.3 }))
    const { first, gained, error } = pooled(fits)
    assert.deepEqual([first, gained], [30, 3])
    assert.ok(Math.abs(error - 2 / Math.sqrt(3)) < 1e-12, 'a standard deviation of 2, of three')
    assert.ok(Math.abs(pooled(fits.map(fit => ({ ...fit, gained: 3 }))).error - 0.3 / Math.sqrt(3)) < 1e-12)
  })

  it('goes through the medians of windows', () => {
    assert.deepEqual(windows([{ minutes: 0, value: 1 }, { minutes: 0.1, value: 100 }, { minutes: 0.2, value: 2 }, { minutes: 1.5, value: 3 }], 1), [{ minutes: 0.5, value: 2 }, { minutes: 1.5, value: 3 }])
  })
})
