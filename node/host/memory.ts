import { readFileSync } from 'node:fs'
import { availableParallelism, freemem } from 'node:os'
import { type BlockEntry, type Bundle, isQuantized, QUANT_BLOCKS, type TensorEntry } from '../../model-tools/index.js'

/** What a session takes beside its weights (nodes, plans, allocator slack), and what a worker takes without any. Measured, see docs/hosting.md. */
const SESSION_BYTES = 160 * 1024
const WORKER_BYTES = 32 * 1024 * 1024

/** f32 scale and f32 block sum, which onnxruntime's kernels keep for every quantisation block where the bundle has one f16. */
const PACKED_BLOCK_BYTES = 8

/**
 * Resident memory that hosting these blocks adds, known before anything is loaded: a sum over the blocks. Beside it stands what the process
 * takes without blocks, which `residentMemory` measures, and `hostBaseBytes` for its workers.
 */
export function expertHostBytes (bundle: Bundle, blocks: BlockEntry[]): number {
  const experts = blocks.flatMap(block => bundle.experts(block))
  const sessions = mayMap(bundle) ? 2 : 1 // two threads each have one of a mapped expert
  return experts.reduce((sum, { gateUp, down }) => sum + packedBytes(gateUp) + packedBytes(down) + sessions * SESSION_BYTES, 0)
}

/** Resident memory of the compute workers of a host without blocks. */
export function hostBaseBytes (threads = availableParallelism()): number {
  return threads * WORKER_BYTES
}

/**
 * Where onnxruntime packs the scales of a quantised matrix together with its values and reads neither again. It keeps its own f32
 * copy of the scales all the same, a sixth of what a 4-bit expert takes. On Linux that copy can be a mapped file that is
 * emptied once the session is open, which gives the pages back. Elsewhere mapped files cannot be emptied, or kernels read the scales.
 */
export function mayDropScales (): boolean {
  return process.platform === 'linux' && process.arch === 'x64'
}

/** Largest pieces that the C library may keep when they are freed, in bytes, where mapped weights are to save memory (allocator.ts). */
export const KEPT_BYTES = 1024 * 1024

/** Whether a bundle's matrices are packed, and so large that the C library can be made to give back what packing took. The first one stands for all. */
export function mayMap (bundle: Bundle): boolean {
  const [{ gateUp }] = bundle.experts(bundle.blocks[0])
  return mayDropScales() && gateUp.scales !== undefined && packedBytes(gateUp) >= KEPT_BYTES
}

/** Of a matrix as onnxruntime keeps it: packed; what it packed from is unmapped. */
export function packedBytes ({ format, shape: [rows, columns], zeros }: TensorEntry): number {
  const values = rows * columns
  if (!isQuantized(format)) return values * 4 // f16 products are computed in f32
  const kept = PACKED_BLOCK_BYTES + (mayDropScales() ? 0 : 4)
  return (format === 'q8' ? values : values / 2) + values / QUANT_BLOCKS[format] * kept + (zeros?.bytes ?? 0)
}

export interface ResidentMemory {
  /**
   * Pages of this process that are in memory, each once, though workers map the same file. Of those that other processes map too only this one's part counts (the
   * kernel's proportional set size).
   */
  residentBytes: number
  /** Of these, pages of files (the program, mapped weights), which the system may drop. Linux only. */
  fileBytes?: number
  /** Of these, pages that exist nowhere else. Linux only. */
  anonymousBytes?: number
}

/** Measured, not counted: from the kernel on Linux, the resident set, in which a page counts as often as it is mapped, elsewhere. */
export function residentMemory (): ResidentMemory {
  if (process.platform !== 'linux') return { residentBytes: process.memoryUsage.rss() }
  let rollup: string
  try {
    rollup = readFileSync('/proc/self/smaps_rollup', 'utf8')
  } catch { // a sandbox, or a kernel before 5.9
    return { residentBytes: process.memoryUsage.rss() }
  }
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1] ?? 0) * 1024
  const residentBytes = field('Pss')
  const anonymousBytes = field('Pss_Anon') // the zero page and pages before a fork are not only ours
  return { residentBytes, anonymousBytes, fileBytes: residentBytes - anonymousBytes }
}

/** What the system, and the container that this process runs in, can still give. */
export function availableMemory (): number {
  const { availableMemory: ofContainer } = process as { availableMemory?: (this: void) => number } // from Node 20.13 on
  return Math.min(freemem(), ofContainer?.() ?? Infinity)
}
