import type { ClientTensorName, LayerTensorName } from '../architectures/gemma4.js'
import type { LayerType, ModelConfig, TensorEntry } from '../bundle/manifest.js'
import { GraphBuilder, type Value } from './builder.js'

/** Looks up a tensor of the client part by its bundle name. */
export type TensorLookup = (name: ClientTensorName) => TensorEntry

/**
 * What a layer leaves behind and the next graph combines: the stream after attention and both branches of the
 * feed-forward. [tokens, H] each.
 */
const CARRY = ['residual', 'dense', 'experts'] as const

/**
 * Attention and router of layer `layer`, from the end of the layer before to the point where the experts are known
 * (gemma4-spec, sections 4 and 5). One graph, so that a lap has one run here.
 *
 * Inputs: layer 0: `hidden` [tokens, H]; later layers: `residual`, `dense`, `experts` [tokens, H] of the layer before.
 * `cos`, `sin` [tokens, headDim / 2] of the tokens' positions. `cache_k`, `cache_v` [kvHeads, capacity, headDim].
 * `cache_mask` [tokens, capacity] and `new_mask` [tokens, tokens], added to the scores: 0 or -Infinity.
 *
 * Outputs: `attended` [tokens, H], the stream after attention; `expert_input` [tokens, H]; `expert_ids` [tokens, K] int32;
 * `expert_weights` [tokens, K]; `new_k`, `new_v` [kvHeads, tokens, headDim], to be written into the cache. The cache
 * itself is never an output: onnxruntime-node copies every output.
 */
export function attentionGraph (config: ModelConfig, layer: number, tensor: TensorLookup): Uint8Array {
  const g = new GraphBuilder(`layer ${layer} attention`, config.rmsNormEps)
  const H = config.hiddenSize
  const w = layerWeights(g, layer, tensor)
  const h = layer === 0 ? g.input('hidden', 'f32', ['tokens', H]) : combined(g, config, layer - 1, tensor)

  const a = g.rmsNorm(h, w.vector('input_norm'))
  const attended = attention(g, config, config.layerTypes[layer], a, w)
  const residual = g.op('Add', [h, g.rmsNorm(attended, w.vector('post_attention_norm'))])

  const { ids, weights } = router(g, config, residual, w)
  g.output('attended', residual, 'f32', ['tokens', H])
  g.output('expert_input', g.rmsNorm(residual, w.vector('pre_expert_norm')), 'f32', ['tokens', H])
  g.output('expert_ids', g.cast(ids, 'i32'), 'i32', ['tokens', config.topK])
  g.output('expert_weights', weights, 'f32', ['tokens', config.topK])
  return g.build()
}

/** The dense branch: `residual` [tokens, H] -> `dense` [tokens, H], normed. It runs while the experts' request travels. */
export function denseMlpGraph (config: ModelConfig, layer: number, tensor: TensorLookup): Uint8Array {
  const g = new GraphBuilder(`layer ${layer} dense MLP`, config.rmsNormEps)
  const w = layerWeights(g, layer, tensor)
  const residual = g.input('residual', 'f32', ['tokens', config.hiddenSize])
  const x = g.rmsNorm(residual, w.vector('pre_dense_norm'))
  const d = g.gatedMlp(x, { gateUp: w.name('dense_gate_up'), down: w.name('dense_down') }, w.entry('dense_gate_up'), w.entry('dense_down'))
  g.output('dense', g.rmsNorm(d, w.vector('post_dense_norm')), 'f32', ['tokens', config.hiddenSize])
  return g.build()
}

/** The end of the last layer, final norm and head: `residual`, `dense`, `experts` [tokens, H] -> `logits` [tokens, vocabulary]. */
export function headGraph (config: ModelConfig, tensor: TensorLookup): Uint8Array {
  const g = new GraphBuilder('head', config.rmsNormEps)
  const h = combined(g, config, config.layerTypes.length - 1, tensor)
  const normed = g.rmsNorm(h, g.weight('final_norm', tensor('final_norm')))
  let logits = g.linear(normed, 'embedding', tensor('embedding'))
  if (config.logitSoftcap > 0) {
    const cap = g.floats([config.logitSoftcap])
    logits = g.op('Mul', [g.op('Tanh', [g.op('Div', [logits, cap])]), cap])
  }
  g.output('logits', logits, 'f32', ['tokens', config.vocabSize])
  return g.build()
}

interface LayerWeights {
  name: (tensor: LayerTensorName) => ClientTensorName
  entry: (tensor: LayerTensorName) => TensorEntry
  vector: (tensor: LayerTensorName) => Value
}

function layerWeights (g: GraphBuilder, layer: number, tensor: TensorLookup): LayerWeights {
  const name: LayerWeights['name'] = t => `layers.${layer}.${t}`
  return { name, entry: t => tensor(name(t)), vector: t => g.weight(name(t), tensor(name(t))) }
}

/** h = (residual + RMS(dense + RMS(experts))) * layer_scalar: the last lines of a layer. */
function combined (g: GraphBuilder, config: ModelConfig, layer: number, tensor: TensorLookup): Value {
  const w = layerWeights(g, layer, tensor)
  const [residual, dense, experts] = CARRY.map(name => g.input(name, 'f32', ['tokens', config.hiddenSize]))
  const branches = g.op('Add', [dense, g.rmsNorm(experts, w.vector('post_expert_norm'))])
  return g.op('Mul', [g.op('Add', [residual, g.rmsNorm(branches, w.vector('post_ffn_norm'))]), w.vector('layer_scalar')])
}

function attention (g: GraphBuilder, config: ModelConfig, type: LayerType, a: Value, w: LayerWeights): Value {
  const { heads, kvHeads, headDim, valueFromKey } = config.attention[type]
  const group = heads / kvHeads
  const cos = g.input('cos', 'f32', ['tokens', headDim / 2])
  const sin = g.input('sin', 'f32', ['tokens', headDim / 2])
  const cacheK = g.input('cache_k', 'f32', [kvHeads, 'capacity', headDim])
  const cacheV = g.input('cache_v', 'f32', [kvHeads, 'capacity', headDim])
  const cacheMask = g.input('cache_mask', 'f32', ['tokens', 'capacity'])
  const newMask = g.input('new_mask', 'f32', ['tokens', 'tokens'])

  const sizes = valueFromKey ? [heads, kvHeads] : [heads, kvHeads, kvHeads]
  const qkv = g.linear(a, w.name('qkv'), w.entry('qkv'))
  const [q, k, v = k] = g.ops('Split', [qkv, g.ints(...sizes.map(n => n * headDim))], sizes.length, { axis: 1 })

  const perHead = (x: Value, n: number): Value => g.reshape(x, -1, n, headDim)
  const rope = (x: Value, n: number): Value =>
    g.contrib('RotaryEmbedding', [g.reshape(x, 1, -1, n * headDim), g.ints(0), cos, sin], { interleaved: 0 })
  const qr = rope(g.rmsNorm(perHead(q, heads), w.vector('q_norm')), heads)
  const kr = rope(g.rmsNorm(perHead(k, kvHeads), w.vector('k_norm')), kvHeads)
  const vn = g.rmsNorm(perHead(v, kvHeads), g.floats(new Array<number>(headDim).fill(1)))

  // Query head i reads kv head i / group: [tokens, kvHeads, group, headDim] -> [kvHeads, group * tokens, headDim].
  const queries = g.reshape(
    g.op('Transpose', [g.reshape(qr, -1, kvHeads, group, headDim)], { perm: [1, 2, 0, 3] }), kvHeads, -1, headDim)
  const newK = g.op('Transpose', [perHead(kr, kvHeads)], { perm: [1, 0, 2] })
  const newV = g.op('Transpose', [vn], { perm: [1, 0, 2] })
  g.output('new_k', newK, 'f32', [kvHeads, 'tokens', headDim])
  g.output('new_v', newV, 'f32', [kvHeads, 'tokens', headDim])

  // Cached and new keys are scored apart and soft-maxed together: joining the scores is cheaper than joining the keys.
  const length = (mask: Value): Value => g.op('Shape', [mask], { start: 1, end: 2 })
  const tokens = length(newMask)
  const scores = (keys: Value, mask: Value): Value => {
    const flat = g.contrib('FusedMatMul', [queries, keys], { transB: 1, alpha: { float: 1 } })
    const shape = g.op('Concat', [g.ints(kvHeads, group), tokens, length(mask)], { axis: 0 })
    return g.op('Add', [g.op('Reshape', [flat, shape]), mask])
  }
  const joined = g.op('Concat', [scores(cacheK, cacheMask), scores(newK, newMask)], { axis: -1 })
  const split = g.op('Concat', [length(cacheMask), tokens], { axis: 0 })
  const parts = g.ops('Split', [g.op('Softmax', [joined], { axis: -1 }), split], 2, { axis: -1 })
  const read = (p: Value, mask: Value, values: Value): Value => {
    const rows = g.op('Mul', [tokens, g.ints(group)])
    const flat = g.op('Reshape', [p, g.op('Concat', [g.ints(kvHeads), rows, length(mask)], { axis: 0 })])
    return g.op('MatMul', [flat, values])
  }
  const out = g.op('Add', [read(parts[0], cacheMask, cacheV), read(parts[1], newMask, newV)])
  const perToken = g.op('Transpose', [g.op('Reshape', [out, g.op('Concat', [g.ints(kvHeads, group), tokens, g.ints(headDim)], { axis: 0 })])], { perm: [2, 0, 1, 3] })
  return g.linear(g.reshape(perToken, -1, heads * headDim), w.name('o'), w.entry('o'))
}

/**
 * Top-k of the logits, then softmax over those k: in exact arithmetic the softmax over all, re-normalised over the top k.
 * The router sees the raw residual through a weightless norm of its own.
 */
function router (g: GraphBuilder, config: ModelConfig, residual: Value, w: LayerWeights): { ids: Value, weights: Value } {
  const scale = g.op('Mul', [w.vector('router_scale'), g.floats([1 / Math.sqrt(config.hiddenSize)])])
  const logits = g.linear(g.rmsNorm(residual, scale), w.name('router'), w.entry('router'))
  const [top, ids] = g.ops('TopK', [logits, g.ints(config.topK)], 2, { axis: -1, largest: 1, sorted: 1 })
  const weights = g.op('Mul', [g.op('Softmax', [top], { axis: -1 }), g.op('Gather', [w.vector('per_expert_scale'), ids])])
  return { ids, weights }
}
