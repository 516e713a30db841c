import assert from 'node:assert/strict'
import { Auditor } from '../../../swarm/audit/auditor.js'
import { wholePart } from '../../../swarm/expert/split.js'
import { batchOf } from '../fixtures/batches.js'
import { seeded } from '../../../scripts/seeded.js'

const TRIALS = 1_000
const PART = wholePart(batchOf(0, 2, [[0]]))
const RIGHT = Float32Array.of(1, 2)
const WRONG = Float32Array.of(2, 1)

/** docs/security.md: a peer that gives `replies` replies a token and lies in a share p of them is caught within n tokens with this probability. */
function predicted (audit: number, p: number, replies: number, n: number): number {
  return 1 - (1 - audit * p) ** (replies * n)
}

describe('the probability of catching a liar', () => {
  for (const { audit, p, replies, n } of [
    { audit: 0.02, p: 1, replies: 10, n: 4 },
    { audit: 0.02, p: 0.1, replies: 10, n: 30 },
    { audit: 0.02, p: 0.01, replies: 30, n: 100 },
    { audit: 0.1, p: 0.05, replies: 5, n: 50 }
  ]) {
    it(`is what the docs say: ${100 * p} % lies, ${100 * audit} % audited, ${replies} replies a token, ${n} tokens`, async function () {
      this.timeout(60_000)
      const random = seeded(4)
      let caught = 0
      let lies = 0
      for (let trial = 0; trial < TRIALS; trial++) {
        const auditor = new Auditor({ share: audit, seed: `trial ${trial}`, tolerances: { fp32: 0.01, fp16: 0.01, int8: 0.01 }, modelId: 'm', hiddenSize: 2, onLiar: () => {}, onEvent: () => {} })
        for (let reply = 0; reply < replies * n && auditor.liars.size === 0; reply++) {
          const sum = random() < p ? WRONG : RIGHT
          if (sum === WRONG) lies++
          if (!auditor.draw()) continue
          const honest = ['b', 'c'].map(peerId => ({ peerId, sum: RIGHT, wire: 'fp16' as const }))
          await auditor.check(PART, { peerId: 'a', sum, wire: 'fp16' }, async () => honest.shift())
        }
        caught += auditor.liars.size
      }
      const expected = predicted(audit, p, replies, n)
      const error = Math.sqrt(expected * (1 - expected) / TRIALS)
      assert.ok(Math.abs(caught / TRIALS - expected) < 2.5 * error, `caught ${caught / TRIALS}, predicted ${expected.toFixed(3)} ± ${error.toFixed(3)}`)
      // Every lie is caught with the audits' share: so many until one was.
      const perCatch = lies / caught
      assert.ok(Math.abs(perCatch * audit - 1) < 3 / Math.sqrt(caught), `${perCatch.toFixed(1)} lies a catch`)
    })
  }
})
