import { randomUUID } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type Bundle, type ExpertEntry, expertGraph, f16ToF32, TENSOR_ALIGNMENT, type TensorEntry } from '../../model-tools/index.js'
import { f32Tensor, openSession, type Session } from '../onnx-session.js'

/** Rows of the two runs that show whether a session still needs its scales: a product with a vector and one with a matrix. */
const PROBE_ROWS = [1, 5]

/** Scratch files of processes that were killed are told from live ones by the process id in the name. */
export const SCRATCH_FILE = /^\.scales-(\d+)-[0-9a-f-]+\.tmp$/

/**
 * Where onnxruntime packs the scales of a quantised matrix together with its values and reads neither again. It keeps its own f32
 * copy of the scales all the same, a sixth of what a 4-bit expert takes. On Linux that copy can be a mapped file that is
 * emptied once the session is open, which gives the pages back. Elsewhere mapped files cannot be emptied, or kernels read the scales.
 */
export function mayDropScales (): boolean {
  return process.platform === 'linux' && process.arch === 'x64'
}

/** Opens the sessions of experts, each in the way that takes least memory. */
export class ExpertSessions {
  /** Undefined until the first quantised expert has shown it. */
  #dropScales: boolean | undefined = mayDropScales() ? undefined : false

  constructor (private readonly bundle: Bundle) {}

  async open (expert: ExpertEntry, threads: number): Promise<Session> {
    if (expert.gateUp.scales === undefined || this.#dropScales === false) return await this.#openPlain(expert, threads)
    const session = await this.#openWithoutScales(expert, threads).catch(() => undefined)
    if (session !== undefined && (this.#dropScales === true || await this.#equalsPlain(session, expert))) {
      this.#dropScales = true
      return session
    }
    this.#dropScales = false // a file system that cannot do it, or a kernel that reads scales: nothing is lost but memory
    await session?.release()
    return await this.#openPlain(expert, threads)
  }

  async #openPlain ({ gateUp, down }: ExpertEntry, threads: number): Promise<Session> {
    return await openSession(expertGraph(this.bundle.config, gateUp, down), { dir: this.bundle.dir, threads })
  }

  /** The scratch file lies in the bundle, the only directory that onnxruntime reads external data of the model from. */
  async #openWithoutScales ({ gateUp, down }: ExpertEntry, threads: number): Promise<Session> {
    const file = `.scales-${process.pid}-${randomUUID()}.tmp`
    const path = join(this.bundle.dir, file)
    const scratch = await open(path, 'wx+')
    try {
      const downOffset = align(await this.#writeScales(scratch, gateUp, 0))
      const end = await this.#writeScales(scratch, down, downOffset)
      const graph = expertGraph(this.bundle.config, { ...gateUp, scales32: { file, offset: 0 } }, { ...down, scales32: { file, offset: downOffset } })
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
    const halves = new Uint16Array(scales!.bytes / 2)
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
    const values = f16ToF32(halves)
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    for (let done = 0; done < bytes.length;) done += (await to.write(bytes, done, bytes.length - done, offset + done)).bytesWritten
    return offset + bytes.length
  }

  async #equalsPlain (session: Session, expert: ExpertEntry): Promise<boolean> {
    const plain = await this.#openPlain(expert, 1)
    try {
      for (const rows of PROBE_ROWS) {
        const feeds = probe(rows, this.bundle.config.hiddenSize)
        const [ours, expected] = [await session.run(feeds), await plain.run(feeds)]
        if (!Buffer.from((ours.output.data as Float32Array).buffer).equals(Buffer.from((expected.output.data as Float32Array).buffer))) return false
      }
      return true
    } finally {
      await plain.release()
    }
  }
}

function probe (rows: number, hiddenSize: number): Parameters<Session['run']>[0] {
  return {
    hidden: f32Tensor(Float32Array.from({ length: rows * hiddenSize }, (_, i) => Math.sin(i)), [rows, hiddenSize]),
    weight: f32Tensor(new Float32Array(rows).fill(1), [rows, 1])
  }
}

function align (offset: number): number {
  return Math.ceil(offset / TENSOR_ALIGNMENT) * TENSOR_ALIGNMENT
}
