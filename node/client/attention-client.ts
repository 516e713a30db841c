import { attentionGraph, type Bundle, denseMlpGraph, headGraph, type LayerType, type TensorLookup } from '../../model-tools/index.js'
import type { ExpertBatch, ExpertDispatcher } from '../../swarm/index.js'
import { f32Tensor, openSession, type Session, type Tensor } from '../onnx-session.js'
import { Embedding } from './embedding.js'
import { KvCache } from './kv-cache.js'
import { LapProfile } from './lap-profile.js'
import { ropeAngles, ropeFrequencies } from './rope.js'

export interface AttentionClientInit {
  bundle: Bundle
  /** Computes the experts; the client neither knows nor cares where. */
  dispatcher: ExpertDispatcher
  /** Threads of attention, dense MLP and head. */
  threads: number
  /** Called after each layer that was loaded. */
  onProgress?: (loaded: number, total: number) => void
  signal?: AbortSignal
}

/** Which logits a lap returns: of its last token, of all its tokens, or none (a prefill chunk that others follow). */
export type WantedLogits = 'last' | 'all' | 'none'

interface Layer {
  type: LayerType
  attention: Session
  /** Only of architectures with an MLP beside the experts. */
  denseMlp?: Session
}

/** What a layer leaves behind for the next graph: inputs of that by their names, [tokens, H] each. */
type Carry = Record<string, Tensor>

/**
 * What runs on the user's machine: embedding, attention, router, dense MLP where there is one, and head. One call of `lap` is one pass of some
 * tokens through all layers.
 */
export class AttentionClient {
  readonly config: Bundle['config']
  private readonly frequencies: Record<LayerType, Float32Array>

  private constructor (
    bundle: Bundle,
    private readonly embedding: Embedding,
    private readonly layers: Layer[],
    private readonly head: Session,
    private readonly dispatcher: ExpertDispatcher
  ) {
    this.config = bundle.config
    this.frequencies = { sliding: ropeFrequencies(this.config.attention.sliding), full: ropeFrequencies(this.config.attention.full) }
  }

  /** Verifies the client part of the bundle and loads it. @throws ModelError 'hash-mismatch', 'not-found' */
  static async load ({ bundle, dispatcher, threads, onProgress, signal }: AttentionClientInit): Promise<AttentionClient> {
    await bundle.verify(bundle.clientFiles(), { signal })
    const { config, dir } = bundle
    const tensor: TensorLookup = name => bundle.tensor(name)
    const opened: Session[] = []
    const open = async (graph: Uint8Array): Promise<Session> => {
      signal?.throwIfAborted()
      const session = await openSession(graph, { dir, threads })
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
      const head = await open(headGraph(config, tensor))
      return new AttentionClient(bundle, new Embedding(bundle), layers, head, dispatcher)
    } catch (error) {
      await Promise.all(opened.map(async session => { await session.release() }))
      throw error
    }
  }

  newCache (): KvCache { return new KvCache(this.config) }

  /**
   * Runs `ids` at the positions after the cache's and appends to it. Returns logits [1 or ids, vocabulary], empty for
   * 'none'. When it rejects, the cache is as before, so the same lap can be tried again.
   * @throws SwarmError 'experts-unavailable'; ModelError 'out-of-range' for a token id; RangeError past the context
   */
  async lap (ids: ArrayLike<number>, cache: KvCache, wanted: WantedLogits, profile: LapProfile, signal?: AbortSignal): Promise<Float32Array> {
    const start = performance.now()
    const tokens = ids.length
    const H = this.config.hiddenSize
    const hidden = f32Tensor(this.embedding.lookup(ids), [tokens, H])
    cache.reserve(tokens)
    const shared = this.lapInputs(cache, tokens)
    let now = profile.add('embedding', start)

    let carry: Carry | undefined
    for (const [i, layer] of this.layers.entries()) {
      const layerCache = cache.layer(i)
      const out = await layer.attention.run({
        ...(carry ?? { hidden }), ...shared[layer.type], cache_k: layerCache.keyTensor, cache_v: layerCache.valueTensor
      })
      layerCache.write(out.new_k.data as Float32Array, out.new_v.data as Float32Array, cache.length, tokens)
      now = profile.add('attention', now)

      const pending = this.dispatcher.dispatch(expertBatch(i, tokens, this.config.topK, out), signal)
      // The dense MLP computes while the request travels; a failure meanwhile is taken up by the await below.
      pending.catch(() => {})
      now = profile.add('send', now)
      const dense = await layer.denseMlp?.run({ residual: out.attended })
      now = profile.add('denseMlp', now)
      const { sum, timing } = await pending
      now = profile.addWait(now, timing.serviceMs + timing.queueMs)
      carry = { ...dense, residual: out.attended, experts: f32Tensor(sum, [tokens, H]) }
    }

    const logits = wanted === 'none' ? new Float32Array(0) : await this.logits(carry!, wanted === 'last' ? tokens - 1 : 0)
    profile.add('head', now)
    cache.commit(tokens)
    profile.lapDone(performance.now() - start)
    return logits
  }

  async close (): Promise<void> {
    this.embedding.close()
    await Promise.all([this.head, ...this.layers.flatMap(({ attention, denseMlp }) => denseMlp === undefined ? [attention] : [attention, denseMlp])].map(session => session.release()))
  }

  private async logits (carry: Carry, firstRow: number): Promise<Float32Array> {
    const H = this.config.hiddenSize
    const rows = (x: Tensor): Tensor => f32Tensor((x.data as Float32Array).subarray(firstRow * H), [x.dims[0] - firstRow, H])
    const { logits } = await this.head.run(Object.fromEntries(Object.entries(carry).map(([name, x]) => [name, rows(x)])))
    return logits.data as Float32Array
  }

  private lapInputs (cache: KvCache, tokens: number): Record<LayerType, Record<string, Tensor>> {
    const ofType = (type: LayerType): Record<string, Tensor> => {
      const frequencies = this.frequencies[type]
      const { cos, sin } = ropeAngles(frequencies, cache.length, tokens)
      const masks = cache.masks(type, tokens)
      const dims = [tokens, frequencies.length]
      return { cos: f32Tensor(cos, dims), sin: f32Tensor(sin, dims), cache_mask: masks.cache, new_mask: masks.fresh }
    }
    return { sliding: ofType('sliding'), full: ofType('full') }
  }
}

function expertBatch (layer: number, tokens: number, topK: number, out: Record<string, Tensor>): ExpertBatch {
  return {
    layer,
    tokens,
    hidden: out.expert_input.data as Float32Array,
    counts: new Uint16Array(tokens).fill(topK),
    experts: Uint16Array.from(out.expert_ids.data as Int32Array),
    weights: out.expert_weights.data as Float32Array
  }
}
