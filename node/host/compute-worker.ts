import { parentPort, workerData } from 'node:worker_threads'
import { Bundle, ModelError } from '../../model-tools/index.js'
import type { ComputeMessage, ComputeReply, ComputeResult, ComputeWorkerData } from './compute-messages.js'
import { ThreadExperts } from './thread-experts.js'

// The only place on a peer that calls onnxruntime: `run` blocks its thread, and this thread serves nothing else.

const experts = new ThreadExperts(await Bundle.open((workerData as ComputeWorkerData).dir))
const port = parentPort!

function failure (error: unknown): { message: string, code?: string, data?: Record<string, unknown> } {
  if (error instanceof ModelError) return { message: error.message, code: error.code, data: error.data }
  return { message: error instanceof Error ? error.message : String(error) }
}

let tail = Promise.resolve()
let stopping = false
port.on('message', (message: ComputeMessage) => {
  if ('stop' in message) {
    // What waits is not computed any more. Not in the middle of a run: onnxruntime-node ends the process when its thread is gone.
    stopping = true
    void tail.then(() => { process.exit() })
    return
  }
  const { id, request } = message
  tail = tail.then(async () => {
    if (stopping) return
    const start = performance.now()
    try {
      const performed = await experts.perform(request)
      const result: ComputeResult = { ...performed, serviceMicros: Math.round((performance.now() - start) * 1000) }
      port.postMessage({ id, result } satisfies ComputeReply)
    } catch (error) {
      port.postMessage({ id, error: failure(error) } satisfies ComputeReply)
    }
  })
})
