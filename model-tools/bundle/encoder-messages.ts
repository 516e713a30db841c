import type { CheckpointTensor } from '../checkpoint/source.js'
import { ModelError, type ModelErrorCode } from '../errors.js'
import type { FileTarget } from './atomic-file.js'
import type { FileDigest } from './file-hash.js'
import type { FilePlan } from './conversion-plan.js'

/** A file that an encoder is to make. */
export interface EncoderJob {
  plan: FilePlan
  /** Those that the plan reads. */
  tensors: CheckpointTensor[]
  target: FileTarget
}

export type ToEncoder =
  | { type: 'job', job: number, task: EncoderJob }
  | { type: 'bytes', read: number, bytes: Uint8Array }
  | { type: 'unreadable', read: number, error: SentError }

export type FromEncoder =
  | { type: 'read', read: number, name: string, offset: number, length: number }
  | { type: 'progress', job: number, bytes: number }
  | { type: 'done', job: number, digest: FileDigest }
  | { type: 'failed', job: number, error: SentError }

/** An error on its way between threads: a structured clone would lose class and fields. */
export interface SentError {
  message: string
  stack?: string
  code?: string
  /** Of a ModelError. */
  data?: Record<string, unknown>
}

export function sendError (error: unknown): SentError {
  if (!(error instanceof Error)) return { message: String(error) }
  const { message, stack } = error
  if (error instanceof ModelError) return { message, stack, code: error.code, data: error.data }
  return 'code' in error && typeof error.code === 'string' ? { message, stack, code: error.code } : { message, stack }
}

export function receiveError ({ message, stack, code, data }: SentError): Error {
  if (data != null) return new ModelError(code as ModelErrorCode, message, data)
  return Object.assign(new Error(message), { stack }, code == null ? {} : { code })
}
