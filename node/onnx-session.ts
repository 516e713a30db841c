import './telemetry.js'
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
  /** @default 'cpu'; what another device has no kernel for is computed on the CPU */
  device?: Device
}

/**
 * Opens a session on a serialised model. Thread pools do not spin: several spinning pools on one machine slow each other
 * down tenfold (measured). No memory arena: a client keeps many sessions and activations are small.
 */
export async function openSession (model: Uint8Array, { dir, threads, optimize = true, device = 'cpu' }: SessionOptions): Promise<ort.InferenceSession> {
  return await ort.InferenceSession.create(model, {
    ...device !== 'cpu' && { executionProviders: [device, 'cpu'] },
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: optimize ? 'all' : 'disabled',
    enableCpuMemArena: false,
    extra: { session: { model_external_initializers_file_folder_path: dir, intra_op: { allow_spinning: '0' } } }
  })
}

/** An fp32 tensor over `data`, which is read in place at every run. */
export function f32Tensor (data: Float32Array, dims: number[]): ort.Tensor {
  return new ort.Tensor('float32', data, dims)
}

export type Tensor = ort.Tensor
export type Session = ort.InferenceSession
