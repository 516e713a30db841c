import type { BlockEntry, ExpertEntry } from '../../model-tools/index.js'
import type { PackedBlock, PackedExpert } from './packed-blocks.js'
import type { ComputeJob } from './shared-job.js'

/** What a compute worker gets at its start. */
export interface ComputeWorkerData {
  /** Bundle directory. */
  dir: string
}

export interface HostedExpert extends ExpertEntry {
  layer: number
}

export interface LoadRequest {
  kind: 'load'
  expert: HostedExpert
  /** Of one run. */
  threads: number
  packed?: PackedExpert
  /** Whether it is another thread's, to be computed when that has other things to do; only if it can be mapped. */
  common: boolean
}

/** What a worker does, one thing at a time, in order of arrival. */
export type ComputeRequest =
  | ComputeJob
  /** Finds the packed form of a block if it is asked for, or else compares the block's file with its digest. */
  | { kind: 'verify', block: BlockEntry, map: boolean }
  /** Makes the packed form of a block that was verified. */
  | { kind: 'pack', block: BlockEntry }
  | LoadRequest
  | { kind: 'unload', layer: number, expert: number }

/** To a worker. It ends when it is told to stop and what it does is done. */
export type ComputeMessage = { id: number, request: ComputeRequest } | { stop: true }

/** What a request came to. */
export interface Performed {
  /** Of a 'verify' or 'pack': the block's packed form. */
  packed?: PackedBlock
  /** Why a 'pack' or a 'load' could not map weights, which costs memory and nothing else. */
  notMapped?: string
}

export interface ComputeResult extends Performed {
  serviceMicros: number
}

export type ComputeReply =
  | { id: number, result: ComputeResult }
  /** `error` has lost its class on the way; `code` and `data` are a ModelError's. */
  | { id: number, error: { message: string, code?: string, data?: Record<string, unknown> } }
