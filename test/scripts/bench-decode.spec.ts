import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { LapProfile, type LapTimes } from '../../node/client/lap-profile.js'
import { halves } from '../../scripts/bench/decode-sides.js'
import { isMet, memoryRows, summarise, targets } from '../../scripts/bench/decode-report.js'
import type { Measurement } from '../../scripts/bench/decode-measurement.js'
import { spread } from '../../scripts/bench/figures.js'
import { parseTests } from '../../scripts/bench/llama-bench.js'
import { otherLoad, parseTicks, watchOtherLoad } from '../../scripts/bench/other-load.js'
import { parseMemory, processMemory } from '../../scripts/bench/process-memory.js'

const lap = (total: number, other: number): LapTimes => ({ ...new LapProfile().mean(), attention: total - other, other, total })

function measurement (decode: number[], prefill: number, rest: Partial<Measurement> = {}): Measurement {
  return { loadSeconds: 1, decode, prefill: { 512: [prefill] }, processes: [], ...rest }
}

const memory = (residentBytes: number): NonNullable<Measurement['processes'][number]['memory']> => ({ residentBytes, anonymousBytes: residentBytes, fileBytes: 0, peakBytes: residentBytes })

describe('bench:decode', () => {
  it('reads what llama-bench prints, each repeat of decoding beside the others', () => {
    const line = (prompt: number, generated: number, rates: number[]): string => JSON.stringify({ build_commit: 'de3ff81', n_prompt: prompt, n_gen: generated, n_depth: 0, samples_ns: [1], samples_ts: rates })
    const output = [line(128, 0, [25.5]), line(512, 0, [24]), line(0, 64, [11.5]), line(0, 64, [11.25]), ''].join('\n')
    assert.deepEqual(parseTests(output), { decode: [11.5, 11.25], prefill: { 128: [25.5], 512: [24] } })
    assert.throws(() => parseTests('{"n_prompt":128}\n'), /without n_prompt, n_gen and samples_ts/)
  })

  it('reads the memory of a process in bytes, and none of one that has ended', async () => {
    const rollup = '5566-7ffe ---p 00000000 00:00 0 [rollup]\nRss:                 300 kB\nPss:                 200 kB\nPss_Anon:            150 kB\nPss_File:             50 kB\n'
    assert.deepEqual(parseMemory('Name:\tnode\nVmHWM:\t  300 kB\n', rollup), { residentBytes: 204_800, anonymousBytes: 153_600, fileBytes: 51_200, peakBytes: 307_200 })
    assert.equal(parseMemory('Name:\tnode\nState:\tZ (zombie)\n', ''), undefined)
    if (process.platform !== 'linux') return
    assert.ok((await processMemory('self'))!.residentBytes > 10_000_000)
    const child = spawn(process.execPath, ['-e', ''])
    await once(child, 'exit')
    assert.equal(await processMemory(child.pid!), undefined)
  })

  it('tells what others took of the cores from what its own children took', async () => {
    const system = (user: number, idle: number, stolen: number): string => `cpu  ${user} 5 10 ${idle} 0 1 2 ${stolen} 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n`
    const own = (ticks: number[]): string => `42 (a (name) of) S ${Array.from({ length: 10 }, () => 1).join(' ')} ${ticks.join(' ')} 20 0`
    const before = parseTicks(system(100, 1000, 0), own([1, 2, 3, 4]))
    const after = parseTicks(system(180, 1015, 5), own([1, 2, 33, 34]))
    assert.deepEqual(otherLoad(before, after), { others: 0.2, stolen: 0.05 })
    if (process.platform !== 'linux') return
    const since = await watchOtherLoad()
    const child = spawn(process.execPath, ['-e', 'const end = Date.now() + 300; while (Date.now() < end);'])
    await once(child, 'exit')
    const { others } = (await since())!
    assert.ok(others >= 0 && others <= 1)
  })

  it('has quartiles at the sorted places', () => {
    assert.deepEqual(spread([5, 1, 4, 2, 3]), { low: 2, median: 3, high: 4 })
    assert.deepEqual(spread([7]), { low: 7, median: 7, high: 7 })
  })

  it('holds a run against the targets, by ratios of medians', () => {
    const llama = summarise([measurement([10, 12], 24), measurement([11], 26)])
    const local = summarise([measurement([9], 20, { laps: { decode: [lap(100, 2)], prefill: { 512: lap(50, 0) } } })])
    const swarm = summarise([
      measurement([8.8], 20, { laps: { decode: [lap(110, 5.5)], prefill: { 512: lap(50, 0) } }, processes: [{ name: 'peer 1', memory: memory(105), hostedBytes: 100 }] }),
      measurement([8.8], 20, { laps: { decode: [lap(110, 5.5)], prefill: { 512: lap(50, 0) } }, processes: [{ name: 'peer 1', memory: memory(120), hostedBytes: 100 }] })
    ])
    const found = targets({ llama, local, swarm }).map(target => [Number(target.measured?.toFixed(3)), isMet(target)])
    assert.deepEqual(found, [[0.8, false], [0.818, false], [0.978, true], [0.769, true], [1.2, false], [0.05, false]])
    assert.deepEqual(memoryRows('ours', swarm)[0].slice(-1), ['1.200'])
    assert.deepEqual(targets({ llama }).map(isMet), [undefined, undefined, undefined, undefined, undefined, undefined])
  })

  it('divides layers and whole blocks of experts between two peers', () => {
    const bundle = (layers: number, experts: number, block: number): Parameters<typeof halves>[0] =>
      ({ config: { layerTypes: Array.from({ length: layers }), experts }, blocks: [{ experts: block }] }) as unknown as Parameters<typeof halves>[0]
    assert.deepEqual(halves(bundle(30, 128, 16), 'layers'), ['0-14', '15-29'])
    assert.deepEqual(halves(bundle(5, 128, 16), 'layers'), ['0-1', '2-4'])
    assert.deepEqual(halves(bundle(30, 128, 16), 'experts'), ['0-63', '64-127'])
    assert.deepEqual(halves(bundle(30, 40, 16), 'experts'), ['0-15', '16-39'])
    assert.throws(() => halves(bundle(1, 128, 16), 'layers'), /cannot be shared by two peers/)
  })
})
