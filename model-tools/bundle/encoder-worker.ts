import { parentPort, workerData } from 'node:worker_threads'
import type { CheckpointTensor, TensorReader } from '../checkpoint/source.js'
import { makeFile } from './atomic-file.js'
import { receiveError, sendError, type EncoderJob, type FromEncoder, type ToEncoder } from './encoder-messages.js'
import { writeWeights } from './weights.js'

/*
 * The thread that encodes, hashes and writes files of weights. It reads by asking the main thread, which owns the checkpoint, whatever
 * kind that is; bytes change threads without a copy.
 */

interface Waiting {
  resolve: (bytes: Uint8Array) => void
  reject: (error: Error) => void
}

if (parentPort == null) throw new Error('encoder-worker is run as a worker thread')
const port = parentPort
const { location } = workerData as { location: string }
const reads = new Map<number, Waiting>()
let lastRead = 0

port.on('message', (message: ToEncoder) => {
  switch (message.type) {
    case 'job':
      void run(message.job, message.task)
      break
    case 'bytes':
      settle(message.read)?.resolve(message.bytes)
      break
    case 'unreadable':
      settle(message.read)?.reject(receiveError(message.error))
      break
    default: message satisfies never
  }
})

function settle (read: number): Waiting | undefined {
  const waiting = reads.get(read)
  reads.delete(read)
  return waiting
}

function send (message: FromEncoder): void {
  port.postMessage(message)
}

async function run (job: number, task: EncoderJob): Promise<void> {
  try {
    const { plan, tensors, target } = task
    const onBytes = (bytes: number): void => { send({ type: 'progress', job, bytes }) }
    const digest = await makeFile(plan.file, target, async sink => writeWeights(remoteReader(tensors), plan, sink, onBytes))
    send({ type: 'done', job, digest })
  } catch (error) {
    send({ type: 'failed', job, error: sendError(error) })
  }
}

function remoteReader (tensors: CheckpointTensor[]): TensorReader {
  return {
    location,
    tensors: new Map(tensors.map(tensor => [tensor.name, tensor])),
    read: async (name, offset, length) => new Promise((resolve, reject) => {
      const read = ++lastRead
      reads.set(read, { resolve, reject })
      send({ type: 'read', read, name, offset, length })
    })
  }
}
