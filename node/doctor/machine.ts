import { readFileSync } from 'node:fs'
import { stat, statfs } from 'node:fs/promises'
import { availableParallelism, cpus, totalmem } from 'node:os'
import { dirname } from 'node:path'
import { counted, formatBytes } from '../../model-tools/index.js'
import { availableMemory } from '../host/memory.js'
import type { Finding } from './finding.js'

/** What onnxruntime's kernels for 4-bit products look for, the best first. */
const X64_FEATURES = ['amx_int8', 'avx512_vnni', 'avx_vnni', 'avx512f', 'avx2', 'fma', 'f16c'] as const
const ARM_FEATURES = ['i8mm', 'asimddp', 'asimdhp', 'sve'] as const

/** Experts of Gemma 4 26B-A4B at 4 bits, by the layout of the bundle (docs/hosting.md). */
export const EXPERTS_26B_BYTES = 13e9

/** What a process takes without experts; the rest can be donated. */
const BASE_BYTES = 400e6

const MIN_DISK_BYTES = 2e9

export function checkNode (): Finding {
  const [major, minor] = process.versions.node.split('.').map(Number)
  const found = `Node ${process.versions.node}, ${process.platform} ${process.arch}`
  const data = { version: process.versions.node, platform: process.platform, arch: process.arch }
  if (major < 20 || (major === 20 && minor < 12)) return { check: 'node', status: 'bad', found, advice: 'Install Node 20.12 or later: 20, 22 and 24 are tested.', data }
  return { check: 'node', status: 'ok', found, data }
}

export function checkProcessor (): Finding {
  const cores = availableParallelism()
  const model = cpus()[0]?.model.trim() ?? 'unknown'
  const features = processorFeatures()
  const data = { cores, model, features }
  const found = `${counted(cores, 'core')}, ${model}${features === undefined ? '' : `, ${features.length === 0 ? 'no vector extensions' : features.join(' ')}`}`
  if (features === undefined) return { check: 'processor', status: 'unknown', found: `${found}; its features cannot be read on this system`, data }
  const fast = process.arch === 'x64' ? features.includes('avx2') : process.arch !== 'arm64' || features.includes('asimddp')
  if (!fast) return { check: 'processor', status: 'warn', found, advice: 'Without AVX2 (or dot products on ARM) experts run several times slower: a virtual machine may hide them, give it the host\'s processor type.', data }
  return { check: 'processor', status: cores < 2 ? 'warn' : 'ok', found, ...(cores < 2 && { advice: 'One core computes and serves the network in turns: expect queues, and donate few blocks.' }), data }
}

function processorFeatures (): string[] | undefined {
  if (process.platform !== 'linux') return undefined
  try {
    const info = readFileSync('/proc/cpuinfo', 'utf8')
    const flags = new Set(/^(?:flags|Features)\s*:\s*(.*)$/m.exec(info)?.[1].split(' '))
    return [...X64_FEATURES, ...ARM_FEATURES].filter(feature => flags.has(feature))
  } catch {
    return undefined
  }
}

export function checkMemory (): Finding {
  const availableBytes = availableMemory()
  const donatable = Math.max(0, availableBytes * 0.8 - BASE_BYTES)
  const share = Math.min(1, donatable / EXPERTS_26B_BYTES)
  const found = `${formatBytes(availableBytes)} available of ${formatBytes(totalmem())}: room for ${(100 * share).toFixed(0)} % of the experts of Gemma 4 26B at 4 bits`
  const data = { availableBytes, totalBytes: totalmem(), share26b: share }
  if (donatable < 500e6) return { check: 'memory', status: 'warn', found, advice: 'That hosts a few blocks at most: end other programs, or use this machine as a client.', data }
  return { check: 'memory', status: 'ok', found, advice: `Donate it with moeswarm peer --donate ${Math.floor((donatable + BASE_BYTES) / 2 ** 30 * 10) / 10}GiB.`, data }
}

export async function checkDisk (dir: string): Promise<Finding> {
  const { bavail, bsize } = await statfs(await nearestDirectory(dir))
  const freeBytes = bavail * bsize
  const found = `${formatBytes(freeBytes)} free where models are kept (${dir})`
  const data = { dir, freeBytes }
  if (freeBytes < MIN_DISK_BYTES) return { check: 'disk', status: 'warn', found, advice: 'Blocks are kept on disk too: free some, or name a directory on another disk with --dir.', data }
  return { check: 'disk', status: 'ok', found, data }
}

/** `dir` or the nearest that exists above it. */
async function nearestDirectory (dir: string): Promise<string> {
  const exists = await stat(dir).then(() => true, () => false)
  return exists || dirname(dir) === dir ? dir : await nearestDirectory(dirname(dir))
}
