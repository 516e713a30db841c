import type { BlockEntry, Bundle } from '../../model-tools/index.js'
import { f32Tensor, type Session } from '../onnx-session.js'
import type { ComputeJob, ComputeRequest, HostedExpert, Performed } from './compute-messages.js'
import { ExpertSessions } from './expert-session.js'
import { findPacked, makePacked, openMapped, type PackedBlock, type PackedExpert } from './packed-blocks.js'

/** The experts that one thread holds and computes. Whoever calls it awaits each request before the next. */
export class ThreadExperts {
  readonly #opener: ExpertSessions
  /** layer -> expert -> session. One session an expert: a run costs 20 µs, whatever else the layer holds. */
  readonly #sessions = new Map<number, Map<number, Session>>()

  constructor (private readonly bundle: Bundle) {
    this.#opener = new ExpertSessions(bundle)
  }

  async perform (request: ComputeRequest): Promise<Performed> {
    switch (request.kind) {
      case 'compute': return { sum: await this.#compute(request) }
      case 'verify': return { sum: new Float32Array(0), packed: await this.#verify(request.block, request.map) }
      case 'pack': return { sum: new Float32Array(0), ...await this.#pack(request.block) }
      case 'load': return { sum: new Float32Array(0), ...await this.#load(request.expert, request.threads, request.packed) }
      case 'unload': {
        const session = this.#sessions.get(request.layer)?.get(request.expert)
        this.#sessions.get(request.layer)?.delete(request.expert)
        await session?.release()
        return { sum: new Float32Array(0) }
      }
      default: return request satisfies never
    }
  }

  /** Frees all that is held. */
  async release (): Promise<void> {
    const sessions = [...this.#sessions.values()].flatMap(ofLayer => [...ofLayer.values()])
    this.#sessions.clear()
    await Promise.all(sessions.map(async session => { await session.release() }))
  }

  /** A packed form that is whole was made from a file that was verified, so that one is not read again. */
  async #verify (block: BlockEntry, map: boolean): Promise<PackedBlock | undefined> {
    const packed = map ? await findPacked(this.bundle, block) : undefined
    if (packed === undefined) await this.bundle.verify([block.file])
    return packed
  }

  async #pack (block: BlockEntry): Promise<Partial<Performed>> {
    try {
      return { packed: await makePacked(this.bundle, block) }
    } catch (error) { // a full disk, a directory that cannot be written, another processor
      return { notMapped: (error as Error).message }
    }
  }

  async #load (expert: HostedExpert, threads: number, packed?: PackedExpert): Promise<Partial<Performed>> {
    let mapped: Session | undefined
    let notMapped: string | undefined
    try {
      mapped = packed && await openMapped(this.bundle, expert, packed, threads)
    } catch (error) { // the file was deleted meanwhile
      notMapped = (error as Error).message
    }
    const ofLayer = this.#sessions.get(expert.layer) ?? new Map<number, Session>()
    this.#sessions.set(expert.layer, ofLayer.set(expert.expert, mapped ?? await this.#opener.open(expert, threads)))
    return { notMapped }
  }

  /** Adds in ascending order of `job.experts`, so that equal jobs give equal bits. */
  async #compute (job: ComputeJob): Promise<Float32Array> {
    const H = this.bundle.config.hiddenSize
    const sum = new Float32Array(job.hidden.length)
    const ofLayer = this.#sessions.get(job.layer)!
    let at = 0
    for (let i = 0; i < job.experts.length; i++) {
      const rows = job.rows.subarray(at, at + job.counts[i])
      const weights = job.weights.subarray(at, at + job.counts[i])
      at += job.counts[i]
      const { output } = await ofLayer.get(job.experts[i])!.run({ hidden: f32Tensor(gather(job.hidden, rows, H), [rows.length, H]) })
      scatterAdd(sum, rows, weights, output.data as Float32Array, H)
    }
    return sum
  }
}

function gather (hidden: Float32Array, rows: Uint16Array, H: number): Float32Array {
  if (rows.length * H === hidden.length) return hidden // every token: rows are ascending, so this is the identity
  if (rows.length === 1) return hidden.subarray(rows[0] * H, (rows[0] + 1) * H)
  const out = new Float32Array(rows.length * H)
  for (let r = 0; r < rows.length; r++) out.set(hidden.subarray(rows[r] * H, (rows[r] + 1) * H), r * H)
  return out
}

/** Adds weight * output of each row to its token. The product is rounded to f32 first, as the reference does. */
function scatterAdd (sum: Float32Array, rows: Uint16Array, weights: Float32Array, output: Float32Array, H: number): void {
  for (let r = 0; r < rows.length; r++) {
    const to = rows[r] * H
    const from = r * H
    const weight = weights[r]
    for (let i = 0; i < H; i++) sum[to + i] += Math.fround(weight * output[from + i])
  }
}
