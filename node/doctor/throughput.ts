import { randomFillSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { counted, expertLayout } from '../../model-tools/index.js'
import { availableMemory } from '../host/memory.js'
import { messageOf } from './bandwidth.js'
import type { Finding } from './finding.js'
import { EXPERTS_26B_BYTES } from './machine.js'
import type { ThroughputData } from './throughput-worker.js'

/** Gemma 4 26B-A4B (shared with the synthetic shape): what one expert multiplies, and how many of them a token takes. */
const SHAPE = { hiddenSize: 2816, expertIntermediateSize: 704, rmsNormEps: 1e-6 }
const LAYERS = 30
const TOP_K = 8

/** Experts that are run in turn: together larger than caches, so that each is read from memory as in service. */
const EXPERTS = 48
const EXPERTS_SMALL_MACHINE = 8
const MEASURE_MS = 1_500

/** f16 for 1/128: products of random 4-bit values stay small. */
const SCALE_BYTES = [0x00, 0x20]

/** Tokens a second below which a machine slows a swarm down more than it helps. */
const SLOW_TOKENS_PER_S = 2

/** Computes experts of the 26B shape with random weights on all cores, as a peer would for one client. */
export async function checkThroughput ({ threads = availableParallelism(), signal }: { threads?: number, signal?: AbortSignal }): Promise<Finding> {
  const { experts, bytes } = expertLayout(SHAPE, 'q4', availableMemory() > 2e9 ? EXPERTS : EXPERTS_SMALL_MACHINE, 'experts.bin')
  const dir = await mkdtemp(join(tmpdir(), 'moeswarm-doctor-'))
  const workers: Worker[] = []
  try {
    const weights = randomFillSync(Buffer.alloc(bytes))
    for (const { gateUp, down } of experts) for (const { scales } of [gateUp, down]) weights.fill(Buffer.from(SCALE_BYTES), scales!.offset, scales!.offset + scales!.bytes)
    await writeFile(join(dir, 'experts.bin'), weights, { signal })
    const count = Math.max(1, Math.min(threads, experts.length))
    for (let i = 0; i < count; i++) {
      const workerData: ThroughputData = { dir, config: SHAPE, experts: experts.filter((_, e) => e % count === i), measureMs: MEASURE_MS }
      workers.push(new Worker(new URL('./throughput-worker.js', import.meta.url), { workerData }))
    }
    await Promise.all(workers.map(async worker => await messageOf(worker, signal)))
    for (const worker of workers) worker.postMessage('go')
    const rates = await Promise.all(workers.map(async worker => await messageOf(worker, signal) as number))
    return findingOf(rates.reduce((a, b) => a + b, 0), bytes / experts.length, count)
  } finally {
    await Promise.all(workers.map(async worker => await worker.terminate()))
    await rm(dir, { recursive: true, force: true })
  }
}

function findingOf (runsPerSecond: number, expertBytes: number, threads: number): Finding {
  const wholeModel = runsPerSecond / (LAYERS * TOP_K)
  const share = Math.max(0.01, Math.min(1, availableMemory() * 0.8 / EXPERTS_26B_BYTES))
  const tokensPerSecond = wholeModel / share
  const found = `${runsPerSecond.toFixed(0)} experts a second of the shape of Gemma 4 26B at 4 bits (${(runsPerSecond * expertBytes / 1e9).toFixed(1)} GB/s of weights, ${counted(threads, 'thread')}): ${wholeModel.toFixed(1)} tok/s of all its experts, or ${tokensPerSecond.toFixed(1)} tok/s of the ${(100 * share).toFixed(0)} % that fit here`
  const data = { runsPerSecond, weightBytesPerSecond: runsPerSecond * expertBytes, tokensPerSecondWholeModel: wholeModel, share, tokensPerSecondOfShare: tokensPerSecond }
  if (tokensPerSecond < SLOW_TOKENS_PER_S) return { check: 'experts', status: 'warn', found, advice: 'Clients would wait for this machine: donate less memory, so that each token asks less of it, or end what else is running.', data }
  return { check: 'experts', status: 'ok', found, data }
}
