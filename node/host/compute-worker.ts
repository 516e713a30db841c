import { parentPort, workerData } from 'node:worker_threads'
import { Bundle, ModelError } from '../../model-tools/index.js'
import { f32Tensor, type Session } from '../onnx-session.js'
import type { ComputeJob, ComputeReply, ComputeRequest, ComputeResult, ComputeWorkerData } from './compute-messages.js'
import { ExpertSessions } from './expert-session.js'

// The only place on a peer that calls onnxruntime: `run` blocks its thread, and this thread serves nothing else.

const bundle = await Bundle.open((workerData as ComputeWorkerData).dir)
const port = parentPort!
const H = bundle.config.hiddenSize
const opener = new ExpertSessions(bundle)
/** layer -> expert -> session. One session an expert: a run costs 20 µs, whatever else the layer holds. */
const sessions = new Map<number, Map<number, Session>>()

async function perform (request: ComputeRequest): Promise<Float32Array> {
  switch (request.kind) {
    case 'compute': return await compute(request)
    case 'verify':
      await bundle.verify([request.file])
      break
    case 'load': {
      const { layer, expert } = request.expert
      const session = await opener.open(request.expert, request.threads)
      const ofLayer = sessions.get(layer) ?? new Map<number, Session>()
      sessions.set(layer, ofLayer.set(expert, session))
      break
    }
    case 'unload': {
      const session = sessions.get(request.layer)?.get(request.expert)
      sessions.get(request.layer)?.delete(request.expert)
      await session?.release()
      break
    }
    default: request satisfies never
  }
  return new Float32Array(0)
}

/** Adds in ascending order of `job.experts`, so that equal jobs give equal bits. */
async function compute (job: ComputeJob): Promise<Float32Array> {
  const sum = new Float32Array(job.hidden.length)
  const ofLayer = sessions.get(job.layer)!
  let at = 0
  for (let i = 0; i < job.experts.length; i++) {
    const rows = job.rows.subarray(at, at + job.counts[i])
    const weights = job.weights.subarray(at, at + job.counts[i])
    at += job.counts[i]
    const { output } = await ofLayer.get(job.experts[i])!.run({ hidden: f32Tensor(gather(job.hidden, rows), [rows.length, H]) })
    scatterAdd(sum, rows, weights, output.data as Float32Array)
  }
  return sum
}

function gather (hidden: Float32Array, rows: Uint16Array): Float32Array {
  if (rows.length * H === hidden.length) return hidden // every token: rows are ascending, so this is the identity
  if (rows.length === 1) return hidden.subarray(rows[0] * H, (rows[0] + 1) * H)
  const out = new Float32Array(rows.length * H)
  for (let r = 0; r < rows.length; r++) out.set(hidden.subarray(rows[r] * H, (rows[r] + 1) * H), r * H)
  return out
}

/** Adds weight * output of each row to its token. The product is rounded to f32 first, as the reference does. */
function scatterAdd (sum: Float32Array, rows: Uint16Array, weights: Float32Array, output: Float32Array): void {
  for (let r = 0; r < rows.length; r++) {
    const to = rows[r] * H
    const from = r * H
    const weight = weights[r]
    for (let i = 0; i < H; i++) sum[to + i] += Math.fround(weight * output[from + i])
  }
}

function failure (error: unknown): { message: string, code?: string, data?: Record<string, unknown> } {
  if (error instanceof ModelError) return { message: error.message, code: error.code, data: error.data }
  return { message: error instanceof Error ? error.message : String(error) }
}

let tail = Promise.resolve()
port.on('message', ({ id, request }: { id: number, request: ComputeRequest }) => {
  tail = tail.then(async () => {
    const start = performance.now()
    try {
      const sum = await perform(request)
      const result: ComputeResult = { sum, serviceMicros: Math.round((performance.now() - start) * 1000) }
      port.postMessage({ id, result } satisfies ComputeReply, [sum.buffer as ArrayBuffer])
    } catch (error) {
      port.postMessage({ id, error: failure(error) } satisfies ComputeReply)
    }
  })
})
