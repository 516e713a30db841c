import assert from 'node:assert/strict'
import { LocalExperts, SplitDispatcher } from '../../node/client/local-experts.js'
import { ExpertHost } from '../../node/host/expert-host.js'
import { Bundle } from '../../model-tools/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { Delayed } from '../fixtures/delayed.js'
import type { ExpertBatch } from '../../swarm/index.js'

/** Tokens whose experts are all here, all elsewhere, both, and none. */
const TOKENS = [[0, 7], [8, 31], [3, 20], [], [25, 1]]
const HERE = 8

describe('a layer that is partly here, f32', function () {
  this.timeout(60_000)
  let bundle: Bundle
  const hosts: ExpertHost[] = []

  before(async () => { bundle = await Bundle.open(await demoBundle('f32')) })
  after(async () => { for (const host of hosts) await host.stop() })

  async function host (holds: (firstExpert: number) => boolean): Promise<LocalExperts> {
    const loaded = await ExpertHost.load({ bundle, blocks: bundle.blocks.filter(({ layer, firstExpert }) => layer === 0 && holds(firstExpert)), threads: 1 })
    hosts.push(loaded)
    return new LocalExperts(loaded)
  }

  function batchOf (tokens: number[][]): ExpertBatch {
    const { hiddenSize } = bundle.config
    const experts = tokens.flat()
    return {
      layer: 0, tokens: tokens.length, hidden: Float32Array.from({ length: tokens.length * hiddenSize }, (_, i) => Math.sin(i)),
      counts: Uint16Array.from(tokens, ({ length }) => length), experts: Uint16Array.from(experts), weights: Float32Array.from(experts, (_, i) => 0.1 + 0.05 * i)
    }
  }

  it('gives the sum of the whole, with equal bits whichever part is there first, and asks for nothing that is here', async () => {
    const whole = await host(() => true)
    const asked: ExpertBatch[] = []
    const local = new Delayed(await host(first => first < HERE), 0)
    const remote = new Delayed(await host(first => first >= HERE), 0)
    remote.onDispatch = batch => asked.push(batch)
    const split = new SplitDispatcher(new Map([[0, new Uint8Array(bundle.config.experts).fill(1, 0, HERE)]]), local, remote)
    const batch = batchOf(TOKENS)
    const sums: Float32Array[] = []
    for (const [localMs, remoteMs] of [[0, 60], [60, 0]]) {
      local.rttMs = localMs
      remote.rttMs = remoteMs
      sums.push((await split.dispatch(batch)).sum)
    }
    assert.deepEqual(sums[0], sums[1])
    const { sum } = await whole.dispatch(batch)
    const worst = sum.reduce((most, value, i) => Math.max(most, Math.abs(value - sums[0][i])), 0)
    assert.ok(worst < 1e-5, `differs by ${worst}`)
    assert.deepEqual(asked.map(({ experts, counts }) => [[...experts], [...counts]]), Array(2).fill([[8, 31, 20, 25], [0, 2, 1, 0, 1]]))

    asked.length = 0
    assert.deepEqual((await split.dispatch(batchOf([[0, 7], [3]]))).sum, (await whole.dispatch(batchOf([[0, 7], [3]]))).sum)
    assert.deepEqual(asked, [])
  })

  it('fails with what the other part fails with', async () => {
    const remote = new Delayed(await host(first => first >= HERE), 0)
    const reason = new Error('nobody is there')
    remote.onDispatch = () => { throw reason }
    const split = new SplitDispatcher(new Map([[0, new Uint8Array(bundle.config.experts).fill(1, 0, HERE)]]), await host(first => first < HERE), remote)
    await assert.rejects(split.dispatch(batchOf(TOKENS)), reason)
  })
})
