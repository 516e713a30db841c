import { architectureOf } from '../architectures/index.js'
import type { ModelConfig } from '../bundle/manifest.js'
import { attention } from './attention.js'
import { GraphBuilder, type Value } from './builder.js'
import { layerWeights, type TensorLookup } from './weights.js'

/**
 * Attention and router of layer `layer`, from the end of the layer before to the point where the experts are known. One graph, so that a
 * lap has one run here. What differs between architectures comes from their LayerMath.
 *
 * Inputs: layer 0: `hidden` [tokens, H]; later layers: of the layer before `residual`, the stream after attention, `experts`, their sum, and
 * where there is one `dense`, the other branch, [tokens, H] each.
 * `cos`, `sin` [tokens, headDim / 2] of the tokens' positions. `cache_k`, `cache_v` [kvHeads, 1, capacity, headDim].
 * `cache_mask` [tokens, capacity] and `new_mask` [tokens, tokens], added to the scores: 0 or -Infinity. `key_split` int64 [2]: capacity and tokens.
 *
 * Outputs: `attended` [tokens, H], the stream after attention; `expert_input` [tokens, H]; `expert_ids` [tokens, K] int32;
 * `expert_weights` [tokens, K]; `new_k`, `new_v` [kvHeads, tokens, headDim], to be written into the cache. The cache
 * itself is never an output: onnxruntime-node copies every output.
 */
export function attentionGraph (config: ModelConfig, layer: number, tensor: TensorLookup): Uint8Array {
  const g = new GraphBuilder(`layer ${layer} attention`, config.rmsNormEps)
  const { router, normsValues } = architectureOf(config).layer
  const H = config.hiddenSize
  const w = layerWeights(g, layer, tensor)
  const h = layer === 0 ? g.input('hidden', 'f32', ['tokens', H]) : combined(g, config, layer - 1, tensor)

  const a = g.rmsNorm(h, w.vector('input_norm'))
  const attended = attention(g, config.attention[config.layerTypes[layer]], normsValues, a, w)
  const residual = g.op('Add', [h, g.rmsNorm(attended, w.vector('post_attention_norm'))])

  const { ids, weights } = router == null ? onlyExpert(g, residual) : router(g, w, config, residual)
  g.output('attended', residual, 'f32', ['tokens', H])
  g.output('expert_input', g.rmsNorm(residual, w.vector('pre_expert_norm')), 'f32', ['tokens', H])
  g.output('expert_ids', g.cast(ids, 'i32'), 'i32', ['tokens', config.topK])
  g.output('expert_weights', weights, 'f32', ['tokens', config.topK])
  return g.build()
}

/**
 * The dense branch: `residual` [tokens, H] -> `dense` [tokens, H]. It runs while the experts' request travels. Undefined in architectures
 * without one.
 */
export function denseMlpGraph (config: ModelConfig, layer: number, tensor: TensorLookup): Uint8Array | undefined {
  const { dense } = architectureOf(config).layer
  if (dense == null) return undefined
  const g = new GraphBuilder(`layer ${layer} dense MLP`, config.rmsNormEps)
  const residual = g.input('residual', 'f32', ['tokens', config.hiddenSize])
  g.output('dense', dense.mlp(g, layerWeights(g, layer, tensor), residual), 'f32', ['tokens', config.hiddenSize])
  return g.build()
}

/** The end of the last layer, final norm and `head`, the tensor that is the head: what a layer leaves behind, as attentionGraph takes it -> `logits` [tokens, vocabulary] and `states` [tokens, H], the normed stream. */
export function headGraph (config: ModelConfig, tensor: TensorLookup, head: 'head' | 'embedding' = 'embedding'): Uint8Array {
  const g = new GraphBuilder('head', config.rmsNormEps)
  const h = combined(g, config, config.layerTypes.length - 1, tensor)
  const normed = g.rmsNorm(h, g.weight('final_norm', tensor('final_norm')))
  g.output('states', normed, 'f32', ['tokens', config.hiddenSize])
  let logits = g.linear(normed, head, tensor(head))
  if (config.logitSoftcap > 0) {
    const cap = g.floats([config.logitSoftcap])
    logits = g.op('Mul', [g.op('Tanh', [g.op('Div', [logits, cap])]), cap])
  }
  g.output('logits', logits, 'f32', ['tokens', config.vocabSize])
  return g.build()
}

/** The stream behind `layer`, from what that has left behind: the first thing that the next graph computes. */
function combined (g: GraphBuilder, config: ModelConfig, layer: number, tensor: TensorLookup): Value {
  const { dense, combine } = architectureOf(config).layer
  const w = layerWeights(g, layer, tensor)
  const branch = (name: string): Value => g.input(name, 'f32', ['tokens', config.hiddenSize])
  const [residual, experts] = [branch('residual'), branch('experts')]
  return combine(g, w, residual, dense == null ? experts : dense.join(g, w, experts, branch('dense')))
}

/** Expert 0 with weight 1 for every row of x, [rows, 1] each. */
function onlyExpert (g: GraphBuilder, x: Value): { ids: Value, weights: Value } {
  const rows = g.op('Shape', [x], { start: 0, end: 1 })
  const zeros = g.op('ConstantOfShape', [g.op('Concat', [rows, g.ints(1)], { axis: 0 })])
  return { ids: zeros, weights: g.op('Add', [zeros, g.floats([1])]) }
}
