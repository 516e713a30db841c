import { createHash, randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, statfs } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { type BlockEntry, type Bundle, type ExpertEntry, expertGraph, formatBytes, type PackedTensor, prepackedOf, sha256OfFile, syncDirectory, writeAtomically } from '../../model-tools/index.js'
import { ONNXRUNTIME_VERSION, openSession, SAVED_MODEL, SAVED_WEIGHTS } from '../onnx-session.js'
import { provenOutputs } from './expert-proof.js'
import { packedBytes } from './memory.js'
import { removeOfTheDead } from './scratch.js'

/** Beside the bundle's files. Whoever deletes it loses a few seconds at the next start. */
export const PACKED_DIR = '.packed'

/** Of the layout below. */
const INDEX_VERSION = 1

/** Matrices begin on a page, so that what two of them share is nothing. onnxruntime aligns only those of a MiB, and misreads others (docs/hosting.md). */
const PAGE_BYTES = 4096

/** Left free for everybody else: this, or a twentieth of the disk where that is more. */
const RESERVE_BYTES = 1024 ** 3

const WORK_DIR = /^\.packing-(\d+)-[0-9a-f-]+$/

type Matrix = 'gateUp' | 'down'
/** The names that expertGraph gives them. */
const INITIALIZERS: Record<Matrix, string> = { gateUp: 'gate_up', down: 'down' }
const MATRICES: Matrix[] = ['gateUp', 'down']

/** The packed form of an expert's matrices; `dir` is what their file is relative to. */
export interface PackedExpert extends Record<Matrix, PackedTensor> {
  dir: string
}

/** The packed form of a block: expert i of it has its matrices at i * stride. */
export interface PackedBlock extends Record<Matrix, PackedTensor> {
  dir: string
  stride: number
}

/** What stands in the file `<sha256 of the block>.json`: that `<sha256>.bin` beside it is whole, and for whom. */
interface PackedIndex extends Record<Matrix, { key: string, bytes: number }> {
  version: number
  /** onnxruntime and processor; what others have packed may differ. */
  runtime: string
  sha256: string
}

/** Why a block's weights cannot be mapped. Nothing is wrong with the block. */
export class NotMapped extends Error {}

export function packedExpert ({ dir, stride, gateUp, down }: PackedBlock, index: number): PackedExpert {
  return { dir, gateUp: { ...gateUp, offset: gateUp.offset + index * stride }, down: { ...down, offset: down.offset + index * stride } }
}

/**
 * The packed form of a block if it is here, whole, made by this version of onnxruntime for this processor, and gives the bits of the bundle for its first
 * expert: a wrong key would make onnxruntime compute with what it packed to find the entry.
 */
export async function findPacked (bundle: Bundle, block: BlockEntry): Promise<PackedBlock | undefined> {
  const dir = join(bundle.dir, PACKED_DIR)
  const { bin, json } = namesOf(bundle, block)
  try {
    const { version, runtime, sha256, gateUp, down } = JSON.parse(await readFile(join(dir, json), 'utf8')) as PackedIndex
    if (version !== INDEX_VERSION || runtime !== runtimeOf() || await sha256OfFile(join(dir, bin)) !== sha256) return undefined
    const packed = layout(dir, bin, { gateUp, down })
    return await mapsExactly(bundle, bundle.experts(block)[0], packedExpert(packed, 0)) ? packed : undefined
  } catch { // absent, damaged or unreadable: it is made again
    return undefined
  }
}

/**
 * Packs a block that was verified: writes the packed form of its experts to a file, and shows of every one that it gives the bits that the bundle's own gives.
 * The file is there whole or not at all.
 * @throws NotMapped with the reason, or the file system's error
 */
export async function makePacked (bundle: Bundle, block: BlockEntry): Promise<PackedBlock> {
  const experts = bundle.experts(block)
  if (experts[0].gateUp.scales === undefined) throw new NotMapped(`weights of ${experts[0].gateUp.format} are not packed`)
  const dir = join(bundle.dir, PACKED_DIR)
  await mkdir(dir, { recursive: true })
  await requireRoom(dir, experts)
  const work = join(dir, `.packing-${process.pid}-${randomUUID()}`)
  await mkdir(work)
  try {
    const { bin, json } = namesOf(bundle, block)
    const packed = await writePacked(bundle, experts, work, bin)
    await prove(bundle, experts, packed)
    const known = ({ key, bytes }: PackedTensor): { key: string, bytes: number } => ({ key: key!, bytes })
    const index: PackedIndex = { version: INDEX_VERSION, runtime: runtimeOf(), sha256: await sha256OfFile(join(work, bin)), gateUp: known(packed.gateUp), down: known(packed.down) }
    await rename(join(work, bin), join(dir, bin))
    await syncDirectory(dir)
    // Last: without it the other file counts for nothing.
    await writeAtomically(join(dir, json), async sink => { await sink.write(Buffer.from(JSON.stringify(index))) })
    return { ...packed, dir }
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** Takes the packed forms of blocks away. What is mapped stays readable. */
export async function removePacked (bundle: Bundle, blocks: BlockEntry[]): Promise<void> {
  const dir = join(bundle.dir, PACKED_DIR)
  for (const block of blocks) for (const name of Object.values(namesOf(bundle, block)).reverse()) await rm(join(dir, name), { force: true })
}

/** Takes away what processes that were killed have left, and packed forms of what is no block of the bundle. */
export async function prunePacked (bundle: Bundle): Promise<void> {
  const dir = join(bundle.dir, PACKED_DIR)
  await removeOfTheDead(dir, WORK_DIR)
  const known = new Set(bundle.blocks.flatMap(block => Object.values(namesOf(bundle, block))))
  for (const name of await readdir(dir).catch(() => [])) {
    if (!WORK_DIR.test(name) && !known.has(name)) await rm(join(dir, name), { recursive: true, force: true })
  }
}

function namesOf (bundle: Bundle, { file }: BlockEntry): { bin: string, json: string } {
  const { sha256 } = bundle.manifest.files[file]
  return { bin: `${sha256}.bin`, json: `${sha256}.json` }
}

/** Kernels choose the packed form by the processor's features. */
function runtimeOf (): string {
  const features = existsSync('/proc/cpuinfo') ? /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] : undefined
  const cpu = createHash('sha256').update(features ?? cpus()[0]?.model ?? '').digest('hex').slice(0, 16)
  return `onnxruntime ${ONNXRUNTIME_VERSION}, ${process.platform} ${process.arch}, processor ${cpu}`
}

async function requireRoom (dir: string, experts: ExpertEntry[]): Promise<void> {
  // Beside the file stands one expert as onnxruntime writes it, with what it was packed from.
  const needed = experts.reduce((sum, { gateUp, down }) => sum + packedBytes(gateUp) + packedBytes(down), 0) / experts.length * (experts.length + 2)
  const { bavail, blocks, bsize } = await statfs(dir)
  const free = bavail * bsize - Math.max(RESERVE_BYTES, blocks * bsize / 20)
  if (needed > free) throw new NotMapped(`${dir} has no room: ${formatBytes(needed)} are needed and ${formatBytes(Math.max(0, free))} may be used`)
}

/** Writes the file and finds the keys of its matrices, the same for all experts. `dir` of the result is `work`. */
async function writePacked (bundle: Bundle, experts: ExpertEntry[], work: string, bin: string): Promise<PackedBlock> {
  const out = await open(join(work, bin), 'wx')
  let packed: PackedBlock | undefined
  try {
    for (const [index, { gateUp, down }] of experts.entries()) {
      const saved = await savedBy(expertGraph(bundle.config, gateUp, down), bundle.dir, work)
      // Without the keys, which are those of what was packed: the file has nothing to pack it from.
      packed ??= layout(work, bin, { gateUp: { bytes: saved.gateUp.bytes }, down: { bytes: saved.down.bytes } })
      const from = await open(join(work, SAVED_WEIGHTS))
      try {
        for (const matrix of MATRICES) {
          const { offset, bytes } = saved[matrix]
          if (bytes !== packed[matrix].bytes) throw new NotMapped('onnxruntime packs matrices of one shape to different sizes')
          await copy(from, offset, bytes, out, packed[matrix].offset + index * packed.stride)
        }
      } finally {
        await from.close()
      }
    }
    await out.truncate(experts.length * packed!.stride)
    await out.sync()
  } finally {
    await out.close()
  }
  const [{ gateUp, down }] = experts
  const keys = await savedBy(expertGraph(bundle.config, { ...gateUp, packed: packed!.gateUp }, { ...down, packed: packed!.down }), work, work)
  for (const matrix of MATRICES) packed![matrix].key = keys[matrix].key
  return packed!
}

function layout (dir: string, file: string, { gateUp, down }: Record<Matrix, { bytes: number, key?: string }>): PackedBlock {
  const downOffset = onPage(gateUp.bytes)
  return { dir, stride: downOffset + onPage(down.bytes), gateUp: { ...gateUp, file, offset: 0 }, down: { ...down, file, offset: downOffset } }
}

/** What onnxruntime packs when it loads the graph, written to SAVED_WEIGHTS in `work`. */
async function savedBy (graph: Uint8Array, dir: string, work: string): Promise<Record<Matrix, { key: string, offset: number, bytes: number }>> {
  const session = await openSession(graph, { dir, threads: 1, save: work })
  await session.release()
  const found = prepackedOf(await readFile(join(work, SAVED_MODEL)))
  const { gateUp, down } = INITIALIZERS
  if (found[gateUp] === undefined || found[down] === undefined) throw new NotMapped('onnxruntime does not pack these weights on this processor')
  return { gateUp: found[gateUp], down: found[down] }
}

async function copy (from: FileHandle, offset: number, bytes: number, to: FileHandle, at: number): Promise<void> {
  const piece = new Uint8Array(bytes)
  for (let done = 0; done < bytes;) {
    const { bytesRead } = await from.read(piece, done, bytes - done, offset + done)
    if (bytesRead === 0) throw new NotMapped('onnxruntime wrote less than it says')
    done += bytesRead
  }
  for (let done = 0; done < bytes;) done += (await to.write(piece, done, bytes - done, at + done)).bytesWritten
}

async function prove (bundle: Bundle, experts: ExpertEntry[], packed: PackedBlock): Promise<void> {
  for (const [index, expert] of experts.entries()) {
    if (!await mapsExactly(bundle, expert, packedExpert(packed, index))) throw new NotMapped('mapped weights give other results than the bundle on this processor')
  }
}

/** Whether an expert gives the same bits mapped as from the bundle. */
async function mapsExactly (bundle: Bundle, expert: ExpertEntry, packed: PackedExpert): Promise<boolean> {
  const outputs = async (opening: ReturnType<typeof openSession>): Promise<Buffer> => {
    const session = await opening
    const bytes = await provenOutputs(session, { hidden: bundle.config.hiddenSize })
    await session.release()
    return bytes
  }
  const expected = await outputs(openSession(expertGraph(bundle.config, expert.gateUp, expert.down), { dir: bundle.dir, threads: 1 }))
  return expected.equals(await outputs(openMapped(bundle, expert, packed, 1)))
}

/** A session whose weights are pages of a file. */
export function openMapped (bundle: Bundle, { gateUp, down }: ExpertEntry, packed: PackedExpert, threads: number): ReturnType<typeof openSession> {
  const graph = expertGraph(bundle.config, { ...gateUp, packed: packed.gateUp }, { ...down, packed: packed.down })
  return openSession(graph, { dir: packed.dir, threads, optimize: false })
}

function onPage (bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES
}
