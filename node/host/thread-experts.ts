import type { BlockEntry, Bundle } from '../../model-tools/index.js'
import { f32Tensor, type Session, type Tensor } from '../onnx-session.js'
import type { ComputeRequest, LoadRequest, Performed } from './compute-messages.js'
import { ExpertSessions } from './expert-session.js'
import { findPacked, makePacked, openMapped, type PackedBlock } from './packed-blocks.js'
import { type ComputeJob, SharedJob } from './shared-job.js'

interface Held {
  session: Session
  /** Whether it is another thread's first of all. */
  common: boolean
}

/** The experts that one thread holds and computes. Whoever calls it awaits each request before the next. */
export class ThreadExperts {
  readonly #opener: ExpertSessions
  /** layer -> expert -> session. One session an expert: a run costs 20 µs, whatever else the layer holds. */
  readonly #sessions = new Map<number, Map<number, Held>>()

  constructor (private readonly bundle: Bundle) {
    this.#opener = new ExpertSessions(bundle)
  }

  async perform (request: ComputeRequest): Promise<Performed> {
    switch (request.kind) {
      case 'compute':
        await this.#compute(request)
        return {}
      case 'verify': return { packed: await this.#verify(request.block, request.map) }
      case 'pack': return await this.#pack(request.block)
      case 'load': return await this.#load(request)
      case 'unload': {
        const held = this.#sessions.get(request.layer)?.get(request.expert)
        this.#sessions.get(request.layer)?.delete(request.expert)
        await held?.session.release()
        return {}
      }
      default: return request satisfies never
    }
  }

  /** Frees all that is held. */
  async release (): Promise<void> {
    const held = [...this.#sessions.values()].flatMap(ofLayer => [...ofLayer.values()])
    this.#sessions.clear()
    await Promise.all(held.map(async ({ session }) => { await session.release() }))
  }

  /** A packed form that is whole was made from a file that was verified, so that one is not read again. */
  async #verify (block: BlockEntry, map: boolean): Promise<PackedBlock | undefined> {
    const packed = map ? await findPacked(this.bundle, block) : undefined
    if (packed === undefined) await this.bundle.verify([block.file])
    return packed
  }

  async #pack (block: BlockEntry): Promise<Performed> {
    try {
      return { packed: await makePacked(this.bundle, block) }
    } catch (error) { // a full disk, a directory that cannot be written, another processor
      return { notMapped: (error as Error).message }
    }
  }

  async #load ({ expert, threads, packed, common }: LoadRequest): Promise<Performed> {
    let mapped: Session | undefined
    let notMapped: string | undefined
    try {
      mapped = packed && await openMapped(this.bundle, expert, packed, threads)
    } catch (error) { // the file was deleted meanwhile
      notMapped = (error as Error).message
    }
    // In memory it would be there twice.
    if (mapped === undefined && common) return { notMapped }
    const ofLayer = this.#sessions.get(expert.layer) ?? new Map<number, Held>()
    this.#sessions.set(expert.layer, ofLayer.set(expert.expert, { session: mapped ?? await this.#opener.open(expert, threads), common }))
    return { notMapped }
  }

  /** Its own experts first, then those that it holds in common and that nobody has begun. */
  async #compute (job: ComputeJob): Promise<void> {
    const shared = new SharedJob(job)
    const ofLayer = this.#sessions.get(job.layer)!
    const { tokens, hiddenSize: H } = job
    const gathered = (rows: Uint16Array): Tensor => f32Tensor(gather(shared.hidden, rows, H), [rows.length, H])
    const only = tokens === 1 ? gathered(Uint16Array.of(0)) : undefined
    for (const common of [false, true]) {
      for (let i = 0, first = 0; i < job.experts; first += shared.counts[i++]) {
        const held = ofLayer.get(shared.experts[i])
        if (held?.common !== common || !shared.claim(i)) continue
        const { output } = await held.session.run({ hidden: only ?? gathered(shared.rows.subarray(first, first + shared.counts[i])) })
        shared.keep(first, output.data as Float32Array)
      }
    }
  }
}

/** A copy: what is shared is no tensor. */
function gather (hidden: Float32Array, rows: Uint16Array, H: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(rows.length * H)
  for (let r = 0; r < rows.length; r++) out.set(hidden.subarray(rows[r] * H, (rows[r] + 1) * H), r * H)
  return out
}
