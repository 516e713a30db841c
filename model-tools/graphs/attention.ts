import type { AttentionConfig } from '../bundle/manifest.js'
import type { GraphBuilder, Value } from './builder.js'
import type { LayerWeights } from './weights.js'

/**
 * Attention of some tokens over a cache and themselves: `a` [tokens, H], normed -> [tokens, H]. Adds the inputs `cos`, `sin`, `cache_k`,
 * `cache_v`, `cache_mask`, `new_mask` and the outputs `new_k`, `new_v`, which attentionGraph describes.
 *
 * @param normsValues - whether each head's values are normed, without a weight
 */
export function attention (g: GraphBuilder, { heads, kvHeads, headDim, valueFromKey, queryScale = 1 }: AttentionConfig, normsValues: boolean, a: Value, w: LayerWeights): Value {
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
  const values = perHead(v, kvHeads)
  const vn = normsValues ? g.rmsNorm(values, g.floats(new Array<number>(headDim).fill(1))) : values

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
    const flat = g.contrib('FusedMatMul', [queries, keys], { transB: 1, alpha: { float: queryScale } })
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
