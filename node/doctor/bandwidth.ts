import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { counted } from '../../model-tools/index.js'
import { availableMemory } from '../host/memory.js'
import type { Finding } from './finding.js'

/** Each thread copies between two buffers of this size, larger than its share of the last cache. */
const BUFFER_BYTES = 64 * 2 ** 20
const MEASURE_MS = 600

/** Threads that are enough to fill the memory bus of a desktop. */
const MAX_THREADS = 8

/** A desktop with two channels of DDR4 copies 15 GB/s or more. */
const SLOW_GB_PER_S = 8

const PROGRAM = `
  const { parentPort, workerData: { bytes, ms } } = require('node:worker_threads')
  const from = Buffer.alloc(bytes, 1)
  const to = Buffer.alloc(bytes, 2)
  parentPort.once('message', () => {
    const end = performance.now() + ms
    let copies = 0
    const start = performance.now()
    do { from.copy(to); copies++ } while (performance.now() < end)
    parentPort.postMessage(2 * bytes * copies / (performance.now() - start) / 1e6)
  })
  parentPort.postMessage('ready')`

/** Bytes read and written a second by copies on all cores at once. */
export async function checkBandwidth ({ threads = availableParallelism(), signal }: { threads?: number, signal?: AbortSignal }): Promise<Finding> {
  const count = Math.max(1, Math.min(threads, MAX_THREADS, Math.floor(availableMemory() / (4 * BUFFER_BYTES))))
  const workers = Array.from({ length: count }, () => new Worker(PROGRAM, { eval: true, workerData: { bytes: BUFFER_BYTES, ms: MEASURE_MS } }))
  try {
    // Memory is touched before the clock starts.
    await Promise.all(workers.map(async worker => await messageOf(worker, signal)))
    for (const worker of workers) worker.postMessage('go')
    const rates = await Promise.all(workers.map(async worker => await messageOf(worker, signal) as number))
    const gigabytesPerSecond = rates.reduce((a, b) => a + b, 0)
    const found = `${gigabytesPerSecond.toFixed(1)} GB/s of memory bandwidth (copies on ${counted(count, 'thread')})`
    const data = { gigabytesPerSecond, threads: count }
    if (gigabytesPerSecond < SLOW_GB_PER_S) return { check: 'bandwidth', status: 'warn', found, advice: 'Experts are read from memory for each token, so this is what limits them: check that all memory channels are filled and nothing else is running.', data }
    return { check: 'bandwidth', status: 'ok', found, data }
  } finally {
    await Promise.all(workers.map(async worker => await worker.terminate()))
  }
}

/** The next message of a worker. @throws what ended it, or the signal's reason */
export async function messageOf (worker: Worker, signal?: AbortSignal): Promise<unknown> {
  return await new Promise((resolve, reject) => {
    const abort = (): void => { reject(signal!.reason as Error) }
    const settle = (outcome: () => void): void => {
      signal?.removeEventListener('abort', abort)
      worker.off('message', onMessage)
      worker.off('error', onError)
      outcome()
    }
    const onMessage = (message: unknown): void => { settle(() => { resolve(message) }) }
    const onError = (error: Error): void => { settle(() => { reject(error) }) }
    worker.on('message', onMessage)
    worker.on('error', onError)
    if (signal?.aborted === true) abort()
    else signal?.addEventListener('abort', abort, { once: true })
  })
}
