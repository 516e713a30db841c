import './telemetry.js'
import ort from 'onnxruntime-node'
import { probeGraph } from '../model-tools/index.js'
import { f32Tensor, openSession } from './onnx-session.js'

/** What attention, dense MLP and head can be computed on: onnxruntime's execution providers. */
export const DEVICES = ['cpu', 'cuda', 'webgpu', 'coreml', 'dml'] as const
export type Device = typeof DEVICES[number]

export interface DeviceChoice {
  device: Device
  /** Why it is the CPU although another was wanted, and what to do about it: a sentence. */
  problem?: string
}

/** What makes a device usable, where a person can do something about it. */
const REMEDIES: Partial<Record<Device, string>> = {
  cuda: 'install CUDA 12 with cuDNN 9, and its files for onnxruntime: npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12',
  webgpu: 'it needs a GPU with a driver for Vulkan, Metal or Direct3D 12'
}

/**
 * The wanted device where it computes right, else the CPU. Tried, not looked up: a provider that onnxruntime was built with may lack its
 * libraries, its driver or the hardware, and one that it was not built with is passed over in silence.
 */
export async function chooseDevice (wanted: Device): Promise<DeviceChoice> {
  if (wanted === 'cpu') return { device: 'cpu' }
  const here = ort.listSupportedBackends().map(({ name }) => name)
  if (!here.includes(wanted)) {
    const others = here.filter(name => (DEVICES as readonly string[]).includes(name))
    return { device: 'cpu', problem: `onnxruntime-node has no ${wanted} on ${process.platform}/${process.arch}, so attention is computed on the CPU; it has ${others.join(', ')}.` }
  }
  try {
    await probe(wanted)
    return { device: wanted }
  } catch (error) {
    const remedy = REMEDIES[wanted]
    return { device: 'cpu', problem: `${wanted} cannot be used here, so attention is computed on the CPU (${reason(error)})${remedy === undefined ? '' : `; ${remedy}`}.` }
  }
}

async function probe (device: Device): Promise<void> {
  const session = await openSession(probeGraph(), { dir: '.', threads: 1, device })
  try {
    const { y } = await session.run({ x: f32Tensor(Float32Array.of(1, 2, 3, 4), [2, 2]) })
    if ([...y.data as Float32Array].join() !== '1,4,9,16') throw new Error('it computes wrong')
  } finally {
    await session.release()
  }
}

/** onnxruntime's messages start with where in its source they come from; what happened is at their end. */
function reason (error: unknown): string {
  const [line] = String(error instanceof Error ? error.message : error).split('\n')
  return line.slice(line.lastIndexOf(' was false. ') < 0 ? 0 : line.lastIndexOf(' was false. ') + 12).replace(/\.$/, '').slice(0, 160)
}
