import { randomUUID } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type Bundle, type ExpertEntry, expertGraph, f16ToF32, type GraphTensor, productsGraph, TENSOR_ALIGNMENT, type TensorEntry } from '../../model-tools/index.js'
import { openSession, type Session } from '../onnx-session.js'
import { provenOutputs } from './expert-proof.js'
import { mayDropScales } from './memory.js'

const PROBE_MATRIX_ROWS = 64

/** Scratch files of processes that were killed are told from live ones by the process id in the name. */
export const SCRATCH_FILE = /^\.scales-(\d+)-[0-9a-f-]+\.tmp$/

type GraphOf = (gateUp: GraphTensor, down: GraphTensor) => Uint8Array

/** Opens the sessions of experts, each in the way that takes least memory. */
export class ExpertSessions {
  #dropScales: boolean | undefined
  /** Scales in both forms. Used again for each matrix: as garbage they would pile up to tens of megabytes before they are collected. */
  #halves = new Uint16Array(0)
  #values = new Float32Array(0)

  /** @param dropScales - undefined lets the first quantised expert show it */
  constructor (private readonly bundle: Bundle, dropScales: boolean | undefined = mayDropScales() ? undefined : false) {
    this.#dropScales = dropScales
  }

  async open (expert: ExpertEntry, threads: number): Promise<Session> {
    if (expert.gateUp.scales === undefined || this.#dropScales === false) return await this.#openPlain(expert, threads)
    try {
      this.#dropScales ??= await this.#probe(expert)
      if (this.#dropScales) return await this.#openWithoutScales(expert, threads)
    } catch {
      this.#dropScales = false // a directory or a file system that cannot do it: nothing is lost but memory
    }
    return await this.#openPlain(expert, threads)
  }

  async #openPlain ({ gateUp, down }: ExpertEntry, threads: number): Promise<Session> {
    return await openSession(expertGraph(this.bundle.config, gateUp, down), { dir: this.bundle.dir, threads })
  }

  /** The scratch file lies in the bundle, the only directory that onnxruntime reads external data of the model from. */
  async #openWithoutScales ({ gateUp, down }: ExpertEntry, threads: number, graphOf: GraphOf = (a, b) => expertGraph(this.bundle.config, a, b)): Promise<Session> {
    const file = `.scales-${process.pid}-${randomUUID()}.tmp`
    const path = join(this.bundle.dir, file)
    const scratch = await open(path, 'wx+')
    try {
      const downOffset = align(await this.#writeScales(scratch, gateUp, 0))
      const end = await this.#writeScales(scratch, down, downOffset)
      const graph = graphOf({ ...gateUp, scales32: { file, offset: 0 } }, { ...down, scales32: { file, offset: downOffset } })
      const session = await openSession(graph, { dir: this.bundle.dir, threads, optimize: false })
      await scratch.truncate(0)
      await scratch.truncate(end) // a read would find zeros, not the end of the file
      return session
    } finally {
      await scratch.close()
      await unlink(path)
    }
  }

  /** Returns the byte behind the scales. */
  async #writeScales (to: FileHandle, { file, scales }: TensorEntry, offset: number): Promise<number> {
    const count = scales!.bytes / 2
    if (this.#halves.length < count) {
      this.#halves = new Uint16Array(count)
      this.#values = new Float32Array(count)
    }
    const halves = this.#halves.subarray(0, count)
    const from = await open(this.bundle.path(file))
    try {
      for (let done = 0; done < halves.byteLength;) {
        const { bytesRead } = await from.read(halves, done, halves.byteLength - done, scales!.offset + done)
        if (bytesRead === 0) throw new RangeError(`${file} ends too early`)
        done += bytesRead
      }
    } finally {
      await from.close()
    }
    const values = f16ToF32(halves, this.#values.subarray(0, count))
    const bytes = new Uint8Array(values.buffer, 0, values.byteLength)
    for (let done = 0; done < bytes.length;) done += (await to.write(bytes, done, bytes.length - done, offset + done)).bytesWritten
    return offset + bytes.length
  }

  /**
   * Whether products without scales are bit-equal to products with them. Of the first rows of the expert's matrices: to free a
   * large piece of memory would teach the C library to keep such pieces (glibc's dynamic mmap threshold), and cost a tenth more for good.
   */
  async #probe ({ gateUp, down }: ExpertEntry): Promise<boolean> {
    const parts = { expert: 0, gateUp: firstRows(gateUp), down: firstRows(down) }
    const outputs = async (session: Session): Promise<Buffer> => {
      const bytes = await provenOutputs(session, { a: gateUp.shape[1], b: down.shape[1] })
      await session.release()
      return bytes
    }
    const plain = await openSession(productsGraph(parts.gateUp, parts.down), { dir: this.bundle.dir, threads: 1 })
    const expected = await outputs(plain)
    return expected.equals(await outputs(await this.#openWithoutScales(parts, 1, productsGraph)))
  }
}

function firstRows (entry: TensorEntry): TensorEntry {
  const [rows, columns] = entry.shape
  const first = Math.min(rows, PROBE_MATRIX_ROWS)
  const part = <Part extends { bytes: number }>(whole: Part): Part => ({ ...whole, bytes: whole.bytes / rows * first })
  return { ...part(entry), shape: [first, columns], scales: part(entry.scales!), ...entry.zeros === undefined ? {} : { zeros: part(entry.zeros) } }
}

function align (offset: number): number {
  return Math.ceil(offset / TENSOR_ALIGNMENT) * TENSOR_ALIGNMENT
}
