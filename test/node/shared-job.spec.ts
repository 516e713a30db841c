import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Bundle, synthesize } from '../../model-tools/index.js'
import { mappingPays } from '../../node/host/allocator.js'
import { makePacked, packedExpert } from '../../node/host/packed-blocks.js'
import { SharedJob } from '../../node/host/shared-job.js'
import { ThreadExperts } from '../../node/host/thread-experts.js'
import type { ExpertBatch } from '../../swarm/index.js'

const EXPERTS = [1, 2, 17, 30]

describe('a job that threads share', function () {
  this.timeout(60_000)
  let scratch: string
  let bundle: Bundle
  const threads: ThreadExperts[] = []

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'moeswarm-job-'))
    await synthesize({ shape: 'demo', layers: 1, format: 'bundle', out: join(scratch, 'bundle'), quant: 'q8' })
    bundle = await Bundle.open(join(scratch, 'bundle'))
    for (const owned of [(expert: number) => expert % 2 === 0, (expert: number) => expert % 2 === 1, () => true]) threads.push(await holder(owned))
  })
  after(async () => {
    for (const thread of threads) await thread.release()
    await rm(scratch, { recursive: true })
  })

  /** A thread that has some experts for its own and all others, mapped, in common. */
  async function holder (owned: (expert: number) => boolean): Promise<ThreadExperts> {
    const thread = new ThreadExperts(bundle)
    for (const block of bundle.blocks) {
      const packed = await makePacked(bundle, block)
      for (const [i, expert] of bundle.experts(block).entries()) {
        if (EXPERTS.includes(expert.expert)) await thread.perform({ kind: 'load', expert: { layer: 0, ...expert }, threads: 1, packed: packedExpert(packed, i), common: !owned(expert.expert) })
      }
    }
    return thread
  }

  function jobOf (batch: ExpertBatch): SharedJob {
    return SharedJob.of(batch, bytes => new SharedArrayBuffer(bytes))
  }

  async function sumOf (job: SharedJob, ...by: ThreadExperts[]): Promise<Float32Array> {
    await Promise.all(by.map(async thread => { await thread.perform(job.job) }))
    assert.ok(job.done())
    return job.sum()
  }

  it('has the same bits whoever computes which expert', async () => {
    const batch = batchOf(bundle)
    const [even, odd, all] = threads
    const expected = await sumOf(jobOf(batch), all)
    assert.ok(expected.some(value => value !== 0))
    // Alone, with everybody else's; and together, each beginning with its own.
    assert.deepEqual(await sumOf(jobOf(batch), even), expected)
    assert.deepEqual(await sumOf(jobOf(batch), even, odd), expected)
  })

  it('gives each expert to one thread, and is done with the last', () => {
    const shared = jobOf(batchOf(bundle))
    assert.deepEqual([...shared.experts], EXPERTS)
    assert.deepEqual(EXPERTS.map((_, i) => [shared.claim(i), shared.claim(i)]), EXPERTS.map(() => [true, false]))
    const H = bundle.config.hiddenSize
    const done = EXPERTS.map((_, i) => {
      shared.keep(2 * i, new Float32Array(2 * H).fill(i + 1))
      return shared.done(1)
    })
    assert.deepEqual(done, [false, false, false, true])
    const sum = shared.sum()
    // Token 1's weights are twice those of token 0.
    assert.deepEqual([sum[0], sum[H - 1], sum[H], sum.length], [0.25 * 10, 0.25 * 10, 0.5 * 10, 2 * H])
  })

  it('adds up any number of experts a token', () => {
    const H = bundle.config.hiddenSize
    const experts = [9, 3, 20, 7, 11, 5, 1]
    const shared = jobOf({
      layer: 0, tokens: 2, hidden: new Float32Array(2 * H), counts: Uint16Array.of(1, 6), experts: Uint16Array.from(experts), weights: Float32Array.from(experts, (_, at) => at + 1)
    })
    for (const [i, expert] of shared.experts.entries()) shared.keep(i, new Float32Array(H).fill(expert))
    const sum = shared.sum()
    assert.deepEqual([sum[0], sum[H]], [9, experts.slice(1).reduce((all, expert, at) => all + expert * (at + 2), 0)])
  })

  it('is not mapped for matrices that the C library keeps', () => {
    assert.equal(mappingPays(bundle), false)
  })
})

/** Two tokens, which ask all of EXPERTS. */
function batchOf ({ config: { hiddenSize } }: Bundle): ExpertBatch {
  return {
    layer: 0, tokens: 2,
    hidden: Float32Array.from({ length: 2 * hiddenSize }, (_, i) => Math.sin(i)),
    counts: Uint16Array.of(4, 4),
    experts: Uint16Array.from([...EXPERTS, ...EXPERTS]),
    weights: Float32Array.of(0.25, 0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5)
  }
}
