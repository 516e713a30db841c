import type { ExpertEntry, ModelConfig } from '../../model-tools/index.js'

/** What a compute worker gets at its start. */
export interface ComputeWorkerData {
  /** Bundle directory. */
  dir: string
  config: ModelConfig
  experts: HostedExpert[]
}

export interface HostedExpert extends ExpertEntry {
  layer: number
}

/** Some experts of one layer on some rows. Expert i owns the next `counts[i]` entries of `rows` and `weights`. */
export interface ComputeJob {
  id: number
  layer: number
  /** [tokens, H] */
  hidden: Float32Array
  experts: Uint16Array
  counts: Uint16Array
  /** Token of each assignment. */
  rows: Uint16Array
  weights: Float32Array
}

export type ComputeMessage =
  | { kind: 'ready' }
  /** `sum` [tokens, H] */
  | { kind: 'done', id: number, sum: Float32Array, serviceMicros: number }
  | { kind: 'failed', id: number, message: string }
