import type { ExpertEntry } from '../../model-tools/index.js'

/** What a compute worker gets at its start. */
export interface ComputeWorkerData {
  /** Bundle directory. */
  dir: string
}

export interface HostedExpert extends ExpertEntry {
  layer: number
}

/** Some experts of one layer on some rows. Expert i owns the next `counts[i]` entries of `rows` and `weights`. */
export interface ComputeJob {
  kind: 'compute'
  layer: number
  /** [tokens, H] */
  hidden: Float32Array
  experts: Uint16Array
  counts: Uint16Array
  /** Token of each assignment. */
  rows: Uint16Array
  weights: Float32Array
}

/** What a worker does, one thing at a time, in order of arrival. */
export type ComputeRequest =
  | ComputeJob
  /** Compares a file of the bundle with its digest. */
  | { kind: 'verify', file: string }
  | { kind: 'load', expert: HostedExpert, threads: number }
  | { kind: 'unload', layer: number, expert: number }

export interface ComputeResult {
  /** [tokens, H], of a 'compute'; else empty */
  sum: Float32Array
  serviceMicros: number
}

export type ComputeReply =
  | { id: number, result: ComputeResult }
  /** `error` has lost its class on the way; `code` and `data` are a ModelError's. */
  | { id: number, error: { message: string, code?: string, data?: Record<string, unknown> } }
