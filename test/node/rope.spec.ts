import assert from 'node:assert/strict'
import { ropeAngles, ropeFrequencies } from '../../node/client/rope.js'

describe('rope', () => {
  const sliding = { heads: 16, kvHeads: 8, headDim: 256, ropeTheta: 10_000, rotaryFactor: 1, valueFromKey: false }
  const full = { heads: 16, kvHeads: 2, headDim: 512, ropeTheta: 1e6, rotaryFactor: 0.25, valueFromKey: true }

  it('rotates all pairs of sliding layers', () => {
    const f = ropeFrequencies(sliding)
    assert.equal(f.length, 128)
    assert.equal(f[0], 1)
    assert.ok(Math.abs(f[127] - 10_000 ** (-254 / 256)) < 1e-9)
  })

  it('rotates 64 of 256 pairs of full layers, with the whole head dimension in the exponent', () => {
    const f = ropeFrequencies(full)
    assert.equal(f.length, 256)
    assert.ok(Math.abs(f[63] - 1e6 ** (-126 / 512)) < 1e-8)
    assert.deepEqual([...f.subarray(64)], new Array(192).fill(0))
  })

  it('divides every frequency where scaling is linear', () => {
    assert.deepEqual(ropeFrequencies({ ...full, ropeDivisor: 8 }), ropeFrequencies(full).map(f => f / 8))
  })

  it('leaves pairs of frequency 0 as they are', () => {
    const { cos, sin } = ropeAngles(Float32Array.of(1, 0), [3, 4])
    assert.deepEqual([cos[1], sin[1], cos[3], sin[3]], [1, 0, 1, 0])
    assert.ok(Math.abs(cos[0] - Math.cos(3)) < 1e-7 && Math.abs(sin[2] - Math.sin(4)) < 1e-7)
  })
})
