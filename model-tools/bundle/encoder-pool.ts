import { Worker } from 'node:worker_threads'
import type { CheckpointSource, CheckpointTensor } from '../checkpoint/source.js'
import type { FileTarget } from './atomic-file.js'
import type { FileDigest } from './file-hash.js'
import type { FilePlan } from './conversion-plan.js'
import { receiveError, sendError, type FromEncoder, type ToEncoder } from './encoder-messages.js'

interface Running {
  onBytes: (bytes: number) => void
  resolve: (digest: FileDigest) => void
  reject: (error: Error) => void
}

interface Encoder {
  worker: Worker
  jobs: Map<number, Running>
  /** Under way, by their numbers. */
  reads: Set<number>
}

/**
 * Threads that make files of weights from a checkpoint that this thread reads. A file is made by one thread from its first byte to its last, so
 * its bytes do not depend on how many there are. Close it when all jobs have settled.
 */
export class EncoderPool {
  readonly #encoders: Encoder[]
  #lastJob = 0
  #stopped: Error | undefined

  constructor (private readonly source: CheckpointSource, threads: number) {
    this.#encoders = Array.from({ length: threads }, () => this.#start())
  }

  /**
   * Makes a file on the thread that has least to do. `onBytes` gets the bytes of every step.
   * Rejects as makeFile, writeWeights and the file system do, and with the reason of `stop`; what was written is then removed.
   */
  async make (plan: FilePlan, target: FileTarget, onBytes: (bytes: number) => void): Promise<FileDigest> {
    if (this.#stopped != null) throw this.#stopped
    const encoder = this.#encoders.reduce((best, other) => other.jobs.size < best.jobs.size ? other : best)
    const names = new Set(plan.parts.flatMap(({ sources }) => sources.map(({ name }) => name)))
    const tensors = [...names].map(name => this.source.tensors.get(name)).filter((tensor): tensor is CheckpointTensor => tensor != null)
    const job = ++this.#lastJob
    return new Promise((resolve, reject) => {
      encoder.jobs.set(job, { onBytes, resolve, reject })
      post(encoder, { type: 'job', job, task: { plan, tensors, target } })
    })
  }

  /** Makes every job fail at its read, whether the bytes would have come or not. */
  stop (reason: Error): void {
    this.#stopped ??= reason
    for (const encoder of this.#encoders) for (const read of encoder.reads) refuse(encoder, read, this.#stopped)
  }

  get threads (): number {
    return this.#encoders.length
  }

  async close (): Promise<void> {
    await Promise.all(this.#encoders.map(({ worker }) => worker.terminate()))
  }

  #start (): Encoder {
    const worker = new Worker(new URL('./encoder-worker.js', import.meta.url), { workerData: { location: this.source.location } })
    const encoder: Encoder = { worker, jobs: new Map(), reads: new Set() }
    worker.on('message', (message: FromEncoder) => { this.#receive(encoder, message) })
    // A thread that dies, of lack of memory for example, takes its jobs along.
    worker.on('error', error => { failAll(encoder, error instanceof Error ? error : new Error(String(error))) })
    worker.on('exit', code => { failAll(encoder, new Error(`The encoding thread ended with code ${code}`)) })
    return encoder
  }

  #receive (encoder: Encoder, message: FromEncoder): void {
    switch (message.type) {
      case 'read':
        void this.#read(encoder, message)
        break
      case 'progress':
        encoder.jobs.get(message.job)?.onBytes(message.bytes)
        break
      case 'done':
        settle(encoder, message.job)?.resolve(message.digest)
        break
      case 'failed':
        settle(encoder, message.job)?.reject(receiveError(message.error))
        break
      default: message satisfies never
    }
  }

  async #read (encoder: Encoder, { read, name, offset, length }: FromEncoder & { type: 'read' }): Promise<void> {
    encoder.reads.add(read)
    try {
      if (this.#stopped != null) throw this.#stopped
      const bytes = await this.source.read(name, offset, length)
      // A view of a larger buffer would take that along.
      const whole = bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice()
      if (encoder.reads.delete(read)) post(encoder, { type: 'bytes', read, bytes: whole }, whole.buffer)
    } catch (error) {
      refuse(encoder, read, error)
    }
  }
}

function post ({ worker }: Encoder, message: ToEncoder, ...transfer: ArrayBufferLike[]): void {
  worker.postMessage(message, transfer.filter(buffer => buffer instanceof ArrayBuffer))
}

function refuse (encoder: Encoder, read: number, error: unknown): void {
  if (encoder.reads.delete(read)) post(encoder, { type: 'unreadable', read, error: sendError(error) })
}

function settle ({ jobs }: Encoder, job: number): Running | undefined {
  const running = jobs.get(job)
  jobs.delete(job)
  return running
}

function failAll (encoder: Encoder, error: Error): void {
  for (const job of [...encoder.jobs.keys()]) settle(encoder, job)?.reject(error)
}
