import assert from 'node:assert/strict'
import { fuzz } from '../../scripts/fuzz/run.js'
import { fuzzTargets } from '../../scripts/fuzz/targets.js'

/** For each decoder; `npm run fuzz` takes as many as it is told. */
const INPUTS = 20_000

describe('every decoder of bytes from strangers', function () {
  this.timeout(120_000)
  let targets: Awaited<ReturnType<typeof fuzzTargets>>
  before(async () => { targets = await fuzzTargets() })

  it(`survives ${INPUTS} changed and random inputs`, async () => {
    for (const target of targets) {
      const result = await fuzz(target, Math.ceil(INPUTS * target.share), 7)
      assert.deepEqual(result.findings, [], target.name)
      const refused = Object.values(result.refused).reduce((a, b) => a + b, 0)
      // A fuzz that only ever meets the first check would find nothing.
      assert.ok(result.accepted > result.inputs / 50 && refused > result.inputs / 50, `${target.name}: ${result.accepted} accepted, ${refused} refused`)
    }
  })

  it('is reported when it hangs, takes too much memory, throws something else or lets through what it should not', async () => {
    const broken = { name: 'broken', reads: '', share: 1, valid: () => new Uint8Array(8), mayTake: (bytes: number) => bytes }
    const found = async (decode: () => number): Promise<string> => (await fuzz({ ...broken, decode }, 5, 1)).findings[0]?.what ?? ''
    assert.match(await found(() => { throw new TypeError('undefined is not a function') }), /threw TypeError/)
    const kept: Uint8Array[] = []
    assert.match(await found(() => kept.push(new Uint8Array(1_000_000))), /bytes of memory/)
    assert.match(await found(() => 1_000_000), /bytes of memory/)
    assert.match(await found(() => {
      // A hang, short enough for a test; of the CPU's time, since a busy machine gives less of it than the clock says.
      const before = process.cpuUsage()
      for (let used = process.cpuUsage(before); used.user + used.system < 120_000; used = process.cpuUsage(before)) { /* on and on */ }
      return 0
    }), /took \d+ ms/)
  })
})
