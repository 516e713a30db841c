import { attentionGraph, type Bundle, denseMlpGraph, headGraph, type LayerType, type TensorLookup } from '../../model-tools/index.js'
import type { ExpertBatch, ExpertDispatcher } from '../../swarm/index.js'
import type { Device } from '../device.js'
import { f32Tensor, openSession, type Session, type Tensor } from '../onnx-session.js'
import { type Asked, askAlone, askTogether } from './asking.js'
import { Embedding } from './embedding.js'
import type { Claim } from './claim.js'
import { HeadRefinement } from './head-refinement.js'
import { KvCache } from './kv-cache.js'
import { LapProfile } from './lap-profile.js'
import { type LayerEvent, type Observation, observe } from './observation.js'
import { ropeAngles, ropeFrequencies } from './rope.js'
import { SharedRequests } from './shared-requests.js'
import { type Pass, Turns } from './turns.js'

export interface AttentionClientInit {
  bundle: Bundle
  /** Computes the experts; the client neither knows nor cares where. */
  dispatcher: ExpertDispatcher
  /** Threads of attention, dense MLP and head. */
  threads: number
  /** Of attention, dense MLP and head. @default 'cpu' */
  device?: Device
  /** Called twice per layer of each lap, whoever watches that. */
  onLayer?: (event: LayerEvent) => void
  /** Called after each layer that was loaded. */
  onProgress?: (loaded: number, total: number) => void
  signal?: AbortSignal
}

/** Of which tokens a lap returns results: its last, all, or none (a prefill chunk that others follow). */
export type WantedRows = 'last' | 'all' | 'none'

export interface LapOptions {
  /** @default 'last' */
  wanted?: WantedRows
  /** @default 'decode' */
  pass?: Pass
  /** The row that each row but the first follows, for a tree of alternatives. @default the row before */
  parents?: readonly number[]
  /** Where the lap's times are added to. */
  profile?: LapProfile
  /** Computes this lap's experts, unwatched. @default the client's */
  dispatcher?: ExpertDispatcher
  /** Whose lap it is. */
  observation?: Observation
  signal?: AbortSignal
}

/** Where a lap's time went, in milliseconds. */
export interface LapSpent {
  /** Waiting while other sequences computed. */
  waitMs: number
  /** Computing what is computed here. */
  computeMs: number
}

/** What a lap returns, of the rows that were wanted. */
export interface LapResult {
  spent: LapSpent
  /** [rows, vocabulary] */
  logits: Float32Array
  /** [rows, H], the stream behind the final norm: what the head and a model's own drafter read. */
  states: Float32Array
}

interface Layer {
  type: LayerType
  attention: Session
  /** Only of architectures with an MLP beside the experts. */
  denseMlp?: Session
}

/** A lap under way. */
interface Lap {
  cache: KvCache
  claim: Claim
  profile: LapProfile
  dispatcher: ExpertDispatcher
  /** Rows [from, tokens) are wanted behind the last layer. */
  from: number
  /** Has a layer's experts computed; called in a turn that meets others, at whose end what was asked is with the sockets. */
  ask: (batch: ExpertBatch) => Asked
  /** Computes for a layer when it is this lap's turn, from the time that it is given on; beside other laps that `meet` there. */
  turn: <T>(layer: number, compute: (start: number) => Promise<T>, meet?: boolean) => Promise<T>
}

/** Decoding sequences are to be under way in so many groups, each with one request a layer: while one computes, others travel and are with peers. */
const GROUPS = 3

/** What a layer leaves behind for the next graph: inputs of that by their names, [tokens, H] each. */
type Carry = Record<string, Tensor>

/**
 * What runs on the user's machine: embedding, attention, router, dense MLP where there is one, and head. One call of `lap` is one pass of some
 * tokens through all layers.
 */
export class AttentionClient {
  readonly config: Bundle['config']
  /** Laps of all sequences compute in turn. */
  readonly turns = new Turns({ together: () => Math.ceil(this.decoding / GROUPS), onLeave: () => { this.requests.send() } })
  private readonly requests = new SharedRequests()
  private decoding = 0
  private readonly frequencies: Record<LayerType, Float32Array>
  /** Only of bundles whose head is not their embedding. */
  private readonly refinement: HeadRefinement | undefined

  private constructor (
    bundle: Bundle,
    private readonly embedding: Embedding,
    private readonly layers: Layer[],
    private readonly head: Session,
    private readonly dispatcher: ExpertDispatcher,
    private readonly onLayer: AttentionClientInit['onLayer']
  ) {
    this.config = bundle.config
    this.refinement = bundle.headTensor === 'head' ? new HeadRefinement(bundle.config, embedding) : undefined
    this.frequencies = { sliding: ropeFrequencies(this.config.attention.sliding), full: ropeFrequencies(this.config.attention.full) }
  }

  /** Verifies the client part of the bundle and loads it. @throws ModelError 'hash-mismatch', 'not-found' */
  static async load ({ bundle, dispatcher, threads, device, onLayer, onProgress, signal }: AttentionClientInit): Promise<AttentionClient> {
    await bundle.verify(bundle.clientFiles(), { signal })
    const { config, dir } = bundle
    const tensor: TensorLookup = name => bundle.tensor(name)
    const opened: Session[] = []
    const open = async (graph: Uint8Array): Promise<Session> => {
      signal?.throwIfAborted()
      const session = await openSession(graph, { dir, threads, device })
      opened.push(session)
      return session
    }
    try {
      const layers: Layer[] = []
      for (const [i, type] of config.layerTypes.entries()) {
        const denseMlp = denseMlpGraph(config, i, tensor)
        layers.push({ type, attention: await open(attentionGraph(config, i, tensor)), denseMlp: denseMlp && await open(denseMlp) })
        onProgress?.(i + 1, config.layerTypes.length)
      }
      const head = await open(headGraph(config, tensor, bundle.headTensor))
      return new AttentionClient(bundle, new Embedding(bundle), layers, head, dispatcher, onLayer)
    } catch (error) {
      await Promise.all(opened.map(async session => { await session.release() }))
      throw error
    }
  }

  /** Of all sequences, those under way. */
  get decodingLaps (): number { return this.decoding }

  newCache (): KvCache { return new KvCache(this.config) }

  /**
   * Runs `ids` at the positions after those of the laps before, and appends to the cache. Laps of one cache may be started before the
   * ones before them have ended: while one waits for its experts, the next computes. When a lap rejects, so do those started after it, the cache is
   * as it was before them, and the same can be tried again.
   * @throws SwarmError 'experts-unavailable'; ModelError 'out-of-range' for a token id; RangeError past the context
   */
  async lap (ids: ArrayLike<number>, cache: KvCache, { wanted = 'last', pass = 'decode', profile = new LapProfile(), dispatcher, observation = {}, parents, signal }: LapOptions = {}): Promise<LapResult> {
    const start = performance.now()
    const hidden = f32Tensor(this.embedding.lookup(ids), [ids.length, this.config.hiddenSize])
    const claim = cache.claim(ids.length, parents)
    profile.addOnce('embedding', start)
    // What a lap before this one fails with ends this one too.
    const either = claim.first ? signal : anySignal(signal, claim.signal)
    const decodes = pass === 'decode'
    const spent: LapSpent = { waitMs: 0, computeMs: 0 }
    if (decodes) this.decoding++
    try {
      const lap: Lap = {
        cache,
        claim,
        profile,
        dispatcher: dispatcher ?? this.dispatcher,
        from: wanted === 'none' ? claim.tokens : wanted === 'last' ? claim.tokens - 1 : 0,
        ask: batch => {
          const named = observation.traceId === undefined ? batch : { ...batch, traceIds: [observation.traceId] }
          // A prompt's chunk is large enough for a request of its own.
          const asked = decodes ? askTogether(this.requests, named, lap.dispatcher, profile, either) : askAlone(named, lap.dispatcher, profile, either)
          if (dispatcher === undefined) for (const onLayer of [this.onLayer, observation.onLayer]) if (onLayer !== undefined) observe(batch, asked.result, onLayer)
          return asked
        },
        turn: async (layer, compute, meet) => {
          const due = performance.now()
          let begun = due
          const computed = await this.turns.take(cache, pass, async () => {
            begun = profile.add(layer, 'turn', due)
            return await compute(begun)
          }, meet === true && decodes ? layer : undefined)
          spent.waitMs += begun - due
          spent.computeMs += performance.now() - begun
          return computed
        }
      }
      const carry = await this.layerByLayer({ hidden }, lap)
      const rows = wanted === 'none' ? NO_ROWS : await this.results(carry, lap)
      await cache.commit(claim)
      profile.lapDone(performance.now() - start)
      return { ...rows, spent }
    } catch (error) {
      claim.throwIfFailed()
      cache.fail(claim, error)
      throw error
    } finally {
      if (decodes) this.decoding--
    }
  }

  async close (): Promise<void> {
    this.embedding.close()
    await Promise.all([this.head, ...this.layers.flatMap(({ attention, denseMlp }) => denseMlp === undefined ? [attention] : [attention, denseMlp])].map(session => session.release()))
  }

  /** Returns what the last layer leaves behind, of the rows that are wanted: what the others would get from its experts, nothing reads. */
  private async layerByLayer (hidden: Carry, lap: Lap): Promise<Carry> {
    const { cache, claim, profile, turn } = lap
    let now = performance.now()
    const rope = this.rope(claim)
    profile.addOnce('embedding', now)
    let carry = hidden
    for (const [i, { type, attention, denseMlp }] of this.layers.entries()) {
      now = performance.now()
      const cached = await cache.inputs(claim, i)
      profile.add(i, 'turn', now)
      const computeDense = async (attended: Tensor, start: number): Promise<Tensor | undefined> => {
        const branch = await denseMlp?.run({ residual: attended })
        profile.add(i, 'denseMlp', start)
        return branch?.dense
      }
      // The dense MLP computes while the request travels, but not beside experts that need the same cores.
      const denseFirst = lap.dispatcher.sharesCores?.(i) === true
      const from = i === this.layers.length - 1 ? lap.from : 0
      const { attended, asked, ...first } = await turn(i, async start => {
        const out = await attention.run({ ...carry, ...rope[type], ...cached })
        cache.write(claim, i, { keys: out.new_k.data as Float32Array, values: out.new_v.data as Float32Array })
        const attendedAt = profile.add(i, 'attention', start)
        if (from === claim.tokens) return { attended: out.attended }
        const attended = rowsFrom(out.attended, from)
        const dense = denseFirst ? await computeDense(attended, attendedAt) : undefined
        const asked = lap.ask(expertBatch(i, this.config.topK, out, from))
        // A failure while the dense MLP computes is taken up by the await below.
        asked.result.catch(() => {})
        return { attended, dense, asked }
      }, true)
      if (asked === undefined) return {}
      const dense = denseFirst || denseMlp === undefined ? first.dense : await turn(i, async start => await computeDense(attended, start))
      now = performance.now()
      const { sum, timing, unchecked } = await asked.result
      if (unchecked !== undefined) cache.contributors.add(claim.start, unchecked)
      profile.addWait(i, now, timing, asked.sending)
      carry = { ...dense && { dense }, residual: attended, experts: f32Tensor(sum, [...attended.dims]) }
    }
    return carry
  }

  private async results (carry: Carry, { profile, turn }: Lap): Promise<Rows> {
    return await turn(this.layers.length - 1, async start => {
      const { logits, states } = await this.head.run(carry)
      const result = { logits: logits.data as Float32Array, states: states.data as Float32Array }
      this.refinement?.refine(result)
      profile.addOnce('head', start)
      return result
    })
  }

  private rope ({ positions }: Claim): Record<LayerType, Record<string, Tensor>> {
    const ofType = (type: LayerType): Record<string, Tensor> => {
      const frequencies = this.frequencies[type]
      const { cos, sin } = ropeAngles(frequencies, positions)
      const dims = [positions.length, frequencies.length]
      return { cos: f32Tensor(cos, dims), sin: f32Tensor(sin, dims) }
    }
    return { sliding: ofType('sliding'), full: ofType('full') }
  }
}

type Rows = Omit<LapResult, 'spent'>

const NO_ROWS: Rows = { logits: new Float32Array(0), states: new Float32Array(0) }

function anySignal (given: AbortSignal | undefined, own: AbortSignal): AbortSignal {
  return given === undefined ? own : AbortSignal.any([given, own])
}

/** Of x [rows, width], those from `first` on. */
function rowsFrom (x: Tensor, first: number): Tensor {
  const [rows, width] = x.dims
  return first === 0 ? x : f32Tensor((x.data as Float32Array).subarray(first * width), [rows - first, width])
}

/** Of the rows from `first` on. */
function expertBatch (layer: number, topK: number, out: Record<string, Tensor>, first: number): ExpertBatch {
  const hidden = rowsFrom(out.expert_input, first)
  const tokens = hidden.dims[0]
  return {
    layer,
    tokens,
    hidden: hidden.data as Float32Array,
    counts: new Uint16Array(tokens).fill(topK),
    experts: Uint16Array.from((out.expert_ids.data as Int32Array).subarray(first * topK)),
    weights: (out.expert_weights.data as Float32Array).subarray(first * topK)
  }
}
