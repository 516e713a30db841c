import { once } from 'node:events'
import { parentPort, workerData } from 'node:worker_threads'
import { type ExpertEntry, expertGraph } from '../../model-tools/index.js'
import { f32Tensor, openSession, type Session } from '../onnx-session.js'

export interface ThroughputData {
  dir: string
  config: { hiddenSize: number, expertIntermediateSize: number, rmsNormEps: number }
  /** Those of this worker. */
  experts: ExpertEntry[]
  measureMs: number
}

const { dir, config, experts, measureMs } = workerData as ThroughputData
const sessions: Session[] = []
for (const { gateUp, down } of experts) sessions.push(await openSession(expertGraph(config, gateUp, down), { dir, threads: 1 }))
const inputs = { hidden: f32Tensor(Float32Array.from({ length: config.hiddenSize }, (_, i) => Math.sin(i)), [1, config.hiddenSize]), weight: f32Tensor(Float32Array.of(1), [1, 1]) }
for (const session of sessions) await session.run(inputs)

parentPort!.postMessage('ready')
await once(parentPort!, 'message')
const start = performance.now()
let runs = 0
while (performance.now() - start < measureMs) await sessions[runs++ % sessions.length].run(inputs)
parentPort!.postMessage(runs / ((performance.now() - start) / 1000))
