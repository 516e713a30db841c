import assert from 'node:assert/strict'
import { BatchQueue, type JobResult } from '../../node/host/batch-queue.js'
import type { ExpertBatch } from '../../swarm/index.js'

const H = 2

/** Workers that compute nothing until they are told to: each job's sum is its hidden states, doubled. */
class HeldWorkers {
  readonly jobs: ExpertBatch[] = []
  readonly #open: Array<(error?: Error) => void> = []
  readonly queue = new BatchQueue(async job => await new Promise<JobResult>((resolve, reject) => {
    this.jobs.push(job)
    this.#open.push(error => {
      if (error === undefined) resolve({ sum: job.hidden.map(value => value * 2), serviceMicros: 7 })
      else reject(error)
    })
  }))

  async finish (error?: Error): Promise<void> {
    this.#open.shift()!(error)
    await new Promise(resolve => setImmediate(resolve))
  }
}

describe('BatchQueue', () => {
  it('merges what waits for one layer and gives each its own rows', async () => {
    const workers = new HeldWorkers()
    const first = workers.queue.submit(batch(0, [1]))
    const second = workers.queue.submit(batch(1, [2]))
    const third = workers.queue.submit(batch(0, [3]))
    const fourth = workers.queue.submit(batch(1, [4, 5]))
    const fifth = workers.queue.submit(batch(0, [6]))
    assert.equal(workers.jobs.length, 2, 'more jobs than can be computed at once are with the workers')
    await workers.finish()
    await workers.finish()
    assert.deepEqual(workers.jobs.slice(2).map(({ layer, tokens }) => [layer, tokens]), [[0, 2], [1, 2]])
    assert.deepEqual([...workers.jobs[2].experts], [3, 6])
    assert.deepEqual([...workers.jobs[2].counts], [1, 1])
    await workers.finish()
    await workers.finish()
    const sums = await Promise.all([first, second, third, fourth, fifth])
    assert.deepEqual(sums.map(({ sum }) => [...sum]), [[2, 2], [4, 4], [6, 6], [8, 8, 10, 10], [12, 12]])
    assert.ok(sums.every(({ serviceMicros, queueMicros }) => serviceMicros === 7 && queueMicros >= 0))
  })

  it('computes the oldest layer first and bounds a job', async () => {
    const workers = new HeldWorkers()
    const all = [
      workers.queue.submit(batch(9, [0])), workers.queue.submit(batch(9, [0])), workers.queue.submit(batch(1, new Array<number>(40).fill(1))),
      workers.queue.submit(batch(2, [2])), workers.queue.submit(batch(1, new Array<number>(40).fill(3))), workers.queue.submit(batch(1, [4]))
    ]
    for (let i = 0; i < 5; i++) await workers.finish()
    await Promise.all(all)
    assert.deepEqual(workers.jobs.slice(2).map(({ layer, tokens }) => [layer, tokens]), [[1, 41], [2, 1], [1, 40]])
  })

  it('does not compute what was given up before its turn', async () => {
    const workers = new HeldWorkers()
    const running = [workers.queue.submit(batch(0, [1])), workers.queue.submit(batch(0, [2]))]
    const giveUp = new AbortController()
    const given = workers.queue.submit(batch(0, [3]), giveUp.signal)
    giveUp.abort(new Error('enough'))
    await assert.rejects(given, /enough/)
    await workers.finish()
    await workers.finish()
    await Promise.all(running)
    await workers.queue.settled()
    assert.equal(workers.jobs.length, 2)
  })

  it('fails all of a job, and goes on', async () => {
    const workers = new HeldWorkers()
    const running = [workers.queue.submit(batch(0, [1])), workers.queue.submit(batch(0, [2]))]
    const failing = Promise.allSettled([workers.queue.submit(batch(1, [3])), workers.queue.submit(batch(1, [4]))])
    const after = workers.queue.submit(batch(2, [5]))
    await workers.finish()
    await workers.finish()
    await workers.finish(new Error('out of order'))
    assert.deepEqual((await failing).map(({ status }) => status), ['rejected', 'rejected'])
    await workers.finish()
    assert.deepEqual([...(await after).sum], [10, 10])
    await Promise.all(running)
  })

  it('settles when all that was submitted before is done, given up or not', async () => {
    const workers = new HeldWorkers()
    const giveUp = new AbortController()
    const given = workers.queue.submit(batch(0, [1]), giveUp.signal)
    let settled = false
    const settling = workers.queue.settled().then(() => { settled = true })
    giveUp.abort(new Error('enough'))
    await assert.rejects(given, /enough/)
    await new Promise(resolve => setImmediate(resolve))
    assert.equal(settled, false, 'a job is still with the workers')
    await workers.finish()
    await settling
  })
})

/** One token a value, whose hidden state is that value and which goes to the expert of that number. */
function batch (layer: number, values: number[]): ExpertBatch {
  return {
    layer,
    tokens: values.length,
    hidden: Float32Array.from(values.flatMap(value => new Array<number>(H).fill(value))),
    counts: new Uint16Array(values.length).fill(1),
    experts: Uint16Array.from(values),
    weights: new Float32Array(values.length).fill(1)
  }
}
