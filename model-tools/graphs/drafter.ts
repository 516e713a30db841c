import type { DrafterTensorName } from '../architectures/tensors.js'
import type { DrafterConfig, LayerType, ModelConfig, TensorEntry } from '../bundle/manifest.js'
import { GraphBuilder, type Value } from './builder.js'
import type { TensorLookup } from './weights.js'

/** Weights of a drafter, by their names in it. */
interface DrafterWeights {
  vector: (name: DrafterTensorName) => Value
  linear: (x: Value, name: DrafterTensorName) => Value
  entry: (name: DrafterTensorName) => TensorEntry
}

/**
 * One step of a drafter of `config`: a token and a state -> the next token's logits and the next state (drafter.md, "Architecture"), for several
 * alternatives at a time, its rows.
 *
 * Inputs: `embedding` [rows, H], the model's of the newest token, scaled; `state` [rows, H], the model's behind its final norm where that token came from,
 * in later steps the drafter's own. For each layer type that the drafter has, as TYPE: `cos_TYPE`, `sin_TYPE` [1, headDim / 2] of the newest token's
 * position, the same in every step of a draft; `cache_k_TYPE`, `cache_v_TYPE` [kvHeads, 1, capacity, headDim], the cache of the model's last layer
 * of that type; `cache_mask_TYPE` [1, capacity], added to the scores.
 *
 * Outputs: `logits` [rows, vocabulary], without a soft cap; `probabilities`, their softmax; `next_state` [rows, H].
 */
export function drafterGraph (config: ModelConfig, drafter: DrafterConfig, tensor: TensorLookup): Uint8Array {
  const g = new GraphBuilder('drafter', drafter.rmsNormEps)
  const w: DrafterWeights = { entry: tensor, vector: name => g.weight(name, tensor(name)), linear: (x, name) => g.linear(x, name, tensor(name)) }
  const H = config.hiddenSize
  const input = g.op('Concat', [g.input('embedding', 'f32', ['rows', H]), g.input('state', 'f32', ['rows', H])], { axis: 1 })
  const caches = new Map([...new Set(drafter.layerTypes)].map(type => [type, cacheInputs(g, config, type)]))

  let h = w.linear(input, 'drafter.pre_projection')
  for (const [layer, type] of drafter.layerTypes.entries()) {
    const at = `drafter.layers.${layer}` as const
    const attended = queryAttention(g, config, drafter, layer, caches.get(type)!, g.rmsNorm(h, w.vector(`${at}.input_norm`)), w)
    h = g.op('Add', [h, g.rmsNorm(attended, w.vector(`${at}.post_attention_norm`))])
    const mlp = g.gatedMlp(g.rmsNorm(h, w.vector(`${at}.pre_mlp_norm`)), { gateUp: `${at}.gate_up`, down: `${at}.down` }, w.entry(`${at}.gate_up`), w.entry(`${at}.down`))
    h = g.op('Mul', [g.op('Add', [h, g.rmsNorm(mlp, w.vector(`${at}.post_mlp_norm`))]), w.vector(`${at}.layer_scalar`)])
  }
  const normed = g.rmsNorm(h, w.vector('drafter.final_norm'))
  const logits = w.linear(normed, 'drafter.embedding')
  g.output('logits', logits, 'f32', ['rows', config.vocabSize])
  g.output('probabilities', g.op('Softmax', [logits], { axis: -1 }), 'f32', ['rows', config.vocabSize])
  g.output('next_state', w.linear(normed, 'drafter.post_projection'), 'f32', ['rows', H])
  return g.build()
}

interface CacheInputs {
  cos: Value
  sin: Value
  keys: Value
  values: Value
  mask: Value
}

function cacheInputs (g: GraphBuilder, config: ModelConfig, type: LayerType): CacheInputs {
  const { kvHeads, headDim } = config.attention[type]
  return {
    cos: g.input(`cos_${type}`, 'f32', [1, headDim / 2]),
    sin: g.input(`sin_${type}`, 'f32', [1, headDim / 2]),
    keys: g.input(`cache_k_${type}`, 'f32', [kvHeads, 1, `capacity_${type}`, headDim]),
    values: g.input(`cache_v_${type}`, 'f32', [kvHeads, 1, `capacity_${type}`, headDim]),
    mask: g.input(`cache_mask_${type}`, 'f32', [1, `capacity_${type}`])
  }
}

/** Attention of tokens that have queries only: x [rows, D], normed -> [rows, D]. Query head i reads kv head i / group. */
function queryAttention (g: GraphBuilder, config: ModelConfig, { heads, layerTypes }: DrafterConfig, layer: number, cache: CacheInputs, x: Value, w: DrafterWeights): Value {
  const { kvHeads, headDim, queryScale = 1 } = config.attention[layerTypes[layer]]
  const at = `drafter.layers.${layer}` as const
  const group = heads / kvHeads
  const q = g.rmsNorm(g.reshape(w.linear(x, `${at}.q`), -1, heads, headDim), w.vector(`${at}.q_norm`))
  // Every row is a sequence of one token, so all are turned alike.
  const turned = g.contrib('RotaryEmbedding', [g.reshape(q, -1, 1, heads * headDim), g.ints(0), cache.cos, cache.sin], { interleaved: 0 })
  const byHead = g.op('Transpose', [g.reshape(turned, -1, kvHeads, group, headDim)], { perm: [1, 0, 2, 3] })
  const queries = g.reshape(byHead, kvHeads, 1, -1, headDim)
  const scores = g.op('Add', [g.contrib('FusedMatMul', [queries, cache.keys], { transB: 1, alpha: { float: queryScale } }), cache.mask])
  const read = g.op('MatMul', [g.op('Softmax', [scores], { axis: -1 }), cache.values])
  const byRow = g.op('Transpose', [g.reshape(read, kvHeads, -1, group, headDim)], { perm: [1, 0, 2, 3] })
  return w.linear(g.reshape(byRow, -1, heads * headDim), `${at}.o`)
}
