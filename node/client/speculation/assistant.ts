import { type Bundle, drafterGraph, type DrafterConfig, type LayerType } from '../../../model-tools/index.js'
import { f32Tensor, openSession, type Session, type Tensor } from '../../onnx-session.js'
import { Embedding } from '../embedding.js'
import type { KvCache } from '../kv-cache.js'
import type { Likely } from '../sampler.js'
import { ropeAngles, ropeFrequencies } from '../rope.js'
import type { Draft } from './draft.js'
import type { Drafter, ModelContext } from './drafter.js'

/** Alternatives that are thought of at a place. */
const BRANCHES = 4

/** Tokens whose followers are computed in one run. That reads the drafter's weights once, and costs little more than a run for one. */
const TOGETHER = 4

/** A token that may become part of a draft. */
interface Bud {
  token: number
  /** Row of the lap that it follows. */
  parent: number
  /** Tokens of the draft up to it. */
  depth: number
  /** The drafter's state that it came from. */
  state: Float32Array
  /** How likely all is right up to it. */
  share: number
  /** What may follow it, once that was computed. */
  next?: { likely: Likely[], state: Float32Array }
}

/**
 * The model's own drafter (drafter.md): a small recurrent model that reads the model's keys and values of its last layers in place. It computes on this
 * machine alone and has no state, so several sequences share it.
 */
export class Assistant implements Drafter<ModelContext> {
  private readonly frequencies: Record<LayerType, Float32Array>

  private constructor (private readonly bundle: Bundle, private readonly drafter: DrafterConfig, private readonly session: Session, private readonly embedding: Embedding) {
    const { sliding, full } = bundle.config.attention
    this.frequencies = { sliding: ropeFrequencies(sliding), full: ropeFrequencies(full) }
  }

  /** Undefined for a bundle without a drafter. Its files are verified with the client part's. */
  static async load (bundle: Bundle, threads: number): Promise<Assistant | undefined> {
    const { drafter } = bundle.manifest
    if (drafter === undefined) return undefined
    const session = await openSession(drafterGraph(bundle.config, drafter, name => bundle.tensor(name)), { dir: bundle.dir, threads })
    return new Assistant(bundle, drafter, session, new Embedding(bundle))
  }

  /** A tree: of all tokens that may come next somewhere in it, always the likeliest is added. What follows the likeliest others is computed in one run with what follows it. */
  async draft ({ tokens, cache, state, likely, signal }: ModelContext, length: number): Promise<Draft> {
    const draft: Draft = { tokens: [], parents: [] }
    const fixed = this.fixedInputs(cache)
    const buds: Bud[] = []
    let newest: Bud = { token: tokens[tokens.length - 1], parent: -1, depth: 0, state, share: 1 }
    while (draft.tokens.length < length) {
      if (newest.next === undefined) {
        signal?.throwIfAborted()
        const others = buds.filter(bud => bud.next === undefined).sort((a, b) => b.share - a.share)
        await this.grow([newest, ...others].slice(0, Math.min(TOGETHER, length - draft.tokens.length)), fixed, (logits, { depth }, probabilities) => likely(logits, tokens.length + depth, BRANCHES, probabilities))
      }
      const { depth, share, next } = newest
      for (const one of next!.likely) buds.push({ token: one.token, parent: draft.tokens.length, depth: depth + 1, state: next!.state, share: share * one.share })
      newest = buds.splice(buds.reduce((best, bud, at) => bud.share > buds[best].share ? at : best, 0), 1)[0]
      draft.tokens.push(newest.token)
      draft.parents.push(newest.parent)
    }
    return draft
  }

  /** Computes what may follow some buds. */
  private async grow (buds: Bud[], fixed: Record<string, Tensor>, likely: (logits: Float32Array, bud: Bud, probabilities: Float32Array) => Likely[]): Promise<void> {
    const { hiddenSize: H, vocabSize: V } = this.bundle.config
    const states = new Float32Array(buds.length * H)
    for (const [row, bud] of buds.entries()) states.set(bud.state, row * H)
    const { logits, probabilities, nextState } = await this.step(buds.map(({ token }) => token), states, fixed)
    for (const [row, bud] of buds.entries()) {
      const ofRow = (x: Float32Array, width: number): Float32Array => x.subarray(row * width, (row + 1) * width)
      bud.next = { likely: likely(ofRow(logits, V), bud, ofRow(probabilities, V)), state: ofRow(nextState, H) }
    }
  }

  /** What all steps of one draft share. A drafted token is turned as if it stood where the newest one does: so the drafter was trained. */
  fixedInputs (cache: KvCache): Record<string, Tensor> {
    const { config } = this.bundle
    const inputs: Record<string, Tensor> = {}
    for (const type of new Set(this.drafter.layerTypes)) {
      const frequencies = this.frequencies[type]
      const { cos, sin } = ropeAngles(frequencies, [cache.length])
      const { keyTensor, valueTensor, capacity } = cache.layer(config.layerTypes.lastIndexOf(type))
      inputs[`cos_${type}`] = f32Tensor(cos, [1, frequencies.length])
      inputs[`sin_${type}`] = f32Tensor(sin, [1, frequencies.length])
      inputs[`cache_k_${type}`] = keyTensor
      inputs[`cache_v_${type}`] = valueTensor
      inputs[`cache_mask_${type}`] = f32Tensor(mask(cache.length, capacity, type === 'sliding' ? config.slidingWindow : Infinity), [1, capacity])
    }
    return inputs
  }

  /** One token further, for alternatives with a state [H] each: logits and their softmax [alternatives, vocabulary], and the states [alternatives, H] for the step after it. */
  async step (tokens: number[], states: Float32Array, fixed: Record<string, Tensor>): Promise<{ logits: Float32Array, probabilities: Float32Array, nextState: Float32Array }> {
    const dims = [tokens.length, this.bundle.config.hiddenSize]
    const out = await this.session.run({ embedding: f32Tensor(this.embedding.lookup(tokens), dims), state: f32Tensor(states, dims), ...fixed })
    return { logits: out.logits.data as Float32Array, probabilities: out.probabilities.data as Float32Array, nextState: out.next_state.data as Float32Array }
  }

  async close (): Promise<void> {
    this.embedding.close()
    await this.session.release()
  }
}

/** The query at position `length` sees the keys before it, on sliding layers those less than a window away. */
function mask (length: number, capacity: number, window: number): Float32Array {
  const added = new Float32Array(capacity).fill(-Infinity)
  for (let key = Math.max(0, length - capacity, length - window + 1); key < length; key++) added[key % capacity] = 0
  return added
}
