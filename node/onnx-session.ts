import './telemetry.js'
import { join } from 'node:path'
import ort from 'onnxruntime-node'
import type { Device } from './device.js'

/** Where a graph's time goes is decided here and nowhere else: every session of the product is opened by this function. */
export interface SessionOptions {
  /** Directory that the model's external data is relative to: the bundle. */
  dir: string
  /** Threads of one run, the caller's included. 1 computes on the calling thread. */
  threads: number
  /** Whether onnxruntime rewrites the graph. Folding constants keeps what it folds in memory. @default true */
  optimize?: boolean
  /** Directory to write the model to, with what kernels packed, as SAVED_MODEL and SAVED_WEIGHTS. */
  save?: string
  /** @default 'cpu'; what another device has no kernel for is computed on the CPU */
  device?: Device
}

export const SAVED_MODEL = 'saved.onnx'
export const SAVED_WEIGHTS = 'saved.bin'

/** Configuration entries of onnxruntime, under `session.`. */
const SAVE_PACKED = {
  save_external_prepacked_constant_initializers: '1',
  optimized_model_external_initializers_file_name: SAVED_WEIGHTS,
  optimized_model_external_initializers_min_size_in_bytes: '0'
}

/**
 * Opens a session on a serialised model. Thread pools do not spin: several spinning pools on one machine slow each other
 * down tenfold (measured). No memory arena: a client keeps many sessions and activations are small.
 */
export async function openSession (model: Uint8Array, { dir, threads, optimize = true, save, device = 'cpu' }: SessionOptions): Promise<ort.InferenceSession> {
  return await ort.InferenceSession.create(model, {
    ...device !== 'cpu' && { executionProviders: [device, 'cpu'] },
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    // 'basic' folds constants and leaves the operators, which a saved model must have.
    graphOptimizationLevel: save !== undefined ? 'basic' : optimize ? 'all' : 'disabled',
    enableCpuMemArena: false,
    logSeverityLevel: 3, // not that an initialiser is an input too, which is meant (model-tools/graphs/builder.ts)
    ...save !== undefined && { optimizedModelFilePath: join(save, SAVED_MODEL) },
    extra: { session: { model_external_initializers_file_folder_path: dir, intra_op: { allow_spinning: '0' }, ...save !== undefined && SAVE_PACKED } }
  })
}

/** An fp32 tensor over `data`, which is read in place at every run. */
export function f32Tensor (data: Float32Array, dims: number[]): ort.Tensor {
  return new ort.Tensor('float32', data, dims)
}

/** An int64 vector. */
export function i64Tensor (...values: number[]): ort.Tensor {
  return new ort.Tensor('int64', BigInt64Array.from(values, BigInt), [values.length])
}

/** Of onnxruntime. */
export const ONNXRUNTIME_VERSION: string = ort.env.versions.node ?? ort.env.versions.common

export type Tensor = ort.Tensor
export type Session = ort.InferenceSession
