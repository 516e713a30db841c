import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { returnFreePages } from '../../node/host/allocator.js'
import { residentMemory } from '../../node/host/memory.js'

const MIB = 2 ** 20

describe('free pages', () => {
  it('go back to the system though what lies behind them is used', async function () {
    if (process.platform !== 'linux') this.skip()
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const anonymous = (): number => residentMemory().anonymousBytes! / MIB
    // Pieces of a size that malloc does not map by themselves.
    let pieces: Buffer[] = Array.from({ length: 2_000 }, () => Buffer.allocUnsafeSlow(50_000).fill(1))
    pieces = pieces.filter((_, at) => at % 40 === 39)
    // Backing stores are freed by another thread, soon after.
    collect()
    await new Promise(resolve => setTimeout(resolve, 200))
    const before = anonymous()
    returnFreePages()()
    const after = anonymous()
    assert.ok(before - after > 50, `${before} MiB, then ${after}`)
    assert.equal(pieces.length, 50)
  })
})
