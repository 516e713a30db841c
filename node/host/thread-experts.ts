import type { Bundle } from '../../model-tools/index.js'
import { f32Tensor, type Session } from '../onnx-session.js'
import type { ComputeJob, ComputeRequest } from './compute-messages.js'
import { ExpertSessions } from './expert-session.js'

/** The experts that one thread holds and computes. Whoever calls it awaits each request before the next. */
export class ThreadExperts {
  readonly #opener: ExpertSessions
  /** layer -> expert -> session. One session an expert: a run costs 20 µs, whatever else the layer holds. */
  readonly #sessions = new Map<number, Map<number, Session>>()

  constructor (private readonly bundle: Bundle) {
    this.#opener = new ExpertSessions(bundle)
  }

  /** Returns the sum of a 'compute' [tokens, H], else nothing. */
  async perform (request: ComputeRequest): Promise<Float32Array> {
    switch (request.kind) {
      case 'compute': return await this.#compute(request)
      case 'verify':
        await this.bundle.verify([request.file])
        break
      case 'load': {
        const { layer, expert } = request.expert
        const session = await this.#opener.open(request.expert, request.threads)
        const ofLayer = this.#sessions.get(layer) ?? new Map<number, Session>()
        this.#sessions.set(layer, ofLayer.set(expert, session))
        break
      }
      case 'unload': {
        const session = this.#sessions.get(request.layer)?.get(request.expert)
        this.#sessions.get(request.layer)?.delete(request.expert)
        await session?.release()
        break
      }
      default: request satisfies never
    }
    return new Float32Array(0)
  }

  /** Frees all that is held. */
  async release (): Promise<void> {
    const sessions = [...this.#sessions.values()].flatMap(ofLayer => [...ofLayer.values()])
    this.#sessions.clear()
    await Promise.all(sessions.map(async session => { await session.release() }))
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
