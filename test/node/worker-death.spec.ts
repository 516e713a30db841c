import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Worker } from 'node:worker_threads'
import { SwarmClient, SwarmPeer } from '../../node/index.js'
import { ExpertHost, type WorkerEvent } from '../../node/host/expert-host.js'
import { Bundle, synthesize } from '../../model-tools/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { type ExpertBatch, isSwarmError } from '../../swarm/index.js'
import { reference } from '../fixtures/reference.js'

/** Every way in which a thread may end but by a crash of native code, which takes the process. */
const DEATHS: Array<{ how: string, reason: RegExp, kill: (worker: Worker) => void }> = [
  // The worker takes its messages apart, and nobody catches that this one is none.
  { how: 'an uncaught error', reason: /null/, kill: worker => { worker.postMessage(null) } },
  { how: 'an exit', reason: /ended/, kill: worker => { void worker.terminate() } }
]

describe('a compute worker that dies', function () {
  this.timeout(60_000)
  let scratch: string
  let bundle: Bundle
  let model: string
  let workers: Worker[] = []
  const note = (worker: Worker): void => { workers.push(worker) }

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'moeswarm-death-'))
    const out = join(scratch, 'bundle')
    await synthesize({ shape: 'demo', layers: 2, format: 'bundle', out, quant: 'q8', blockExperts: 8 })
    bundle = await Bundle.open(out)
    model = await demoBundle('f32') // by workers of its own
    process.on('worker', note)
  })
  beforeEach(() => { workers = [] })
  after(async () => {
    process.off('worker', note)
    await rm(scratch, { recursive: true })
  })

  for (const { how, reason, kill } of DEATHS) {
    it(`of ${how} is started again, with what it held then, and computes the same bits`, async () => {
      const events: WorkerEvent[] = []
      const [away, ...blocks] = bundle.blocks
      const host = await ExpertHost.load({ bundle, blocks: bundle.blocks, threads: 2, onWorker: event => { events.push(event) } })
      try {
        await host.remove([away])
        const batch = batchOf(bundle, 1)
        const { sum: expected } = await host.compute(batch)
        kill(workers[1])
        while (events.length === 0) await sleep(1)
        assert.match(events[0].type === 'worker-ended' ? events[0].reason : '', reason)
        assert.equal(host.available, false)
        await assert.rejects(host.compute(batch), error => isSwarmError(error, 'busy') && error.data.retryAfterMs > 0)
        while (!host.available) await sleep(1)
        assert.deepEqual(events.slice(1), [{ type: 'worker-restarted', experts: blocks.length * 4 }])
        assert.deepEqual((await host.compute(batch)).sum, expected)
        await host.add([away])
        await host.compute(batchOf(bundle, 0))
      } finally {
        await host.stop()
      }
    })
  }

  it('ends what waits for it', async () => {
    const host = await ExpertHost.load({ bundle, blocks: bundle.blocks, threads: 1 })
    try {
      const waiting = Promise.allSettled(Array.from({ length: 60 }, async (_, at) => await host.compute(batchOf(bundle, at % 2))))
      workers[0].postMessage(null) // not terminate: that would end the process in the middle of a run
      const rejected = (await waiting).flatMap(result => result.status === 'rejected' ? [result.reason as unknown] : [])
      assert.ok(rejected.length > 0)
      for (const error of rejected) assert.ok(isSwarmError(error, 'busy'))
    } finally {
      await host.stop()
    }
  })

  it('again and again is given up, with a clear error', async () => {
    let failure: Error | undefined
    const host = await ExpertHost.load({ bundle, blocks: bundle.blocks, threads: 1, onFailure: error => { failure = error } })
    try {
      for (let killed = 0; failure === undefined; await sleep(5)) {
        if (killed < workers.length) workers[killed++].postMessage(null)
      }
      assert.equal(workers.length, 4)
      assert.match(failure.message, /ended 4 times within 10 minutes and is not started again.*null/)
      await assert.rejects(host.compute(batchOf(bundle, 0)), /not started again/)
    } finally {
      await host.stop()
    }
  })

  for (const { who, replicas } of [{ who: 'a replica is there', replicas: 1 }, { who: 'it was the only one', replicas: 0 }]) {
    it(`in the middle of a generation costs no token when ${who}`, async () => {
      const events: WorkerEvent[] = []
      const peers = [await SwarmPeer.start({ model, threads: 1, onWorker: event => { events.push(event) } })]
      const [worker] = workers
      let client: SwarmClient | undefined
      try {
        for (let at = 0; at < replicas; at++) peers.push(await SwarmPeer.start({ model, threads: 1, bootstrap: [peers[0].addresses[0]] }))
        client = await SwarmClient.open({ model, bootstrap: [peers[0].addresses[0]], wire: 'fp32' })
        const { ids, greedy_ids: expected } = reference.prompts[0]
        const tokens: number[] = []
        for await (const event of client.generate(ids, { maxTokens: expected.length, stopTokenIds: [], sampling: { temperature: 0, topK: 0, topP: 1, seed: 0 } })) {
          if (event.type !== 'token') continue
          tokens.push(event.id)
          if (tokens.length === 5) worker.postMessage(null)
        }
        assert.deepEqual(tokens, expected)
        while (events.length < 2) await sleep(10)
        assert.deepEqual(events.map(({ type }) => type), ['worker-ended', 'worker-restarted'])
        const [seen] = (await peers.at(-1)!.others()).filter(({ peerId }) => peerId === peers[0].peerId)
        if (replicas > 0) assert.equal(seen.manifest?.blocks.length, peers[0].blocks.length)
      } finally {
        await client?.close()
        for (const peer of peers.reverse()) await peer.stop()
      }
    })
  }
})

/** A token that asks one expert of each worker. */
function batchOf ({ config: { hiddenSize } }: Bundle, layer: number): ExpertBatch {
  return {
    layer, tokens: 1, hidden: Float32Array.from({ length: hiddenSize }, (_, i) => Math.sin(i)), counts: Uint16Array.of(2), experts: Uint16Array.of(16, 17), weights: Float32Array.of(0.5, 0.25)
  }
}
