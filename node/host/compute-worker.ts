import { parentPort, workerData } from 'node:worker_threads'
import { expertGraph } from '../../model-tools/index.js'
import { f32Tensor, openSession, type Session } from '../onnx-session.js'
import type { ComputeJob, ComputeMessage, ComputeWorkerData } from './compute-messages.js'

// The only place on a peer that calls onnxruntime: `run` blocks its thread, and this thread serves nothing else.

const { dir, config, experts } = workerData as ComputeWorkerData
const port = parentPort!
const H = config.hiddenSize
/** layer -> expert -> session. One session an expert: a run costs 20 µs, whatever else the layer holds. */
const sessions = new Map<number, Session[]>()

function post (message: ComputeMessage, transfer: ArrayBuffer[] = []): void {
  port.postMessage(message, transfer)
}

async function load (): Promise<void> {
  for (const { layer, expert, gateUp, down } of experts) {
    const ofLayer = sessions.get(layer) ?? []
    ofLayer[expert] = await openSession(expertGraph(config, gateUp, down), { dir, threads: 1 })
    sessions.set(layer, ofLayer)
  }
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
    const { output } = await ofLayer[job.experts[i]].run({
      hidden: f32Tensor(gather(job.hidden, rows), [rows.length, H]),
      weight: f32Tensor(weights, [rows.length, 1])
    })
    scatterAdd(sum, rows, output.data as Float32Array)
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

function scatterAdd (sum: Float32Array, rows: Uint16Array, output: Float32Array): void {
  for (let r = 0; r < rows.length; r++) {
    const to = rows[r] * H
    const from = r * H
    for (let i = 0; i < H; i++) sum[to + i] += output[from + i]
  }
}

// Jobs are answered one at a time, in order of arrival.
let tail = load().then(() => { post({ kind: 'ready' }) })
port.on('message', (job: ComputeJob) => {
  tail = tail.then(async () => {
    const start = performance.now()
    try {
      const sum = await compute(job)
      post({ kind: 'done', id: job.id, sum, serviceMicros: Math.round((performance.now() - start) * 1000) }, [sum.buffer as ArrayBuffer])
    } catch (error) {
      post({ kind: 'failed', id: job.id, message: error instanceof Error ? error.message : String(error) })
    }
  })
})
