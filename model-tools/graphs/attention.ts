import type { AttentionConfig } from '../bundle/manifest.js'
import type { GraphBuilder, Value } from './builder.js'
import type { LayerWeights } from './weights.js'

/** Query heads that read a kv head each for itself: a head of 1024 positions stays in a core's cache for so many, and no longer. */
const MAX_READERS = 2

/**
 * Attention of some tokens over a cache and themselves: `a` [tokens, H], normed -> [tokens, H]. Adds the inputs `cos`, `sin`, `cache_k`,
 * `cache_v`, `cache_mask`, `new_mask`, `key_split` and the outputs `new_k`, `new_v`, which attentionGraph describes.
 *
 * @param normsValues - whether each head's values are normed, without a weight
 */
export function attention (g: GraphBuilder, { heads, kvHeads, headDim, valueFromKey, queryScale = 1 }: AttentionConfig, normsValues: boolean, a: Value, w: LayerWeights): Value {
  const group = heads / kvHeads
  const cos = g.input('cos', 'f32', ['tokens', headDim / 2])
  const sin = g.input('sin', 'f32', ['tokens', headDim / 2])
  const cacheK = g.input('cache_k', 'f32', [kvHeads, 1, 'capacity', headDim])
  const cacheV = g.input('cache_v', 'f32', [kvHeads, 1, 'capacity', headDim])
  const cacheMask = g.input('cache_mask', 'f32', ['tokens', 'capacity'])
  const newMask = g.input('new_mask', 'f32', ['tokens', 'tokens'])
  const keySplit = g.input('key_split', 'i64', [2])

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

  // Query head i reads kv head i / group. Products of one row read keys and values where they lie, of more rows only after a copy, which pays where many heads read the same:
  // then products are of one matrix a kv head, [kvHeads, 1, group * tokens, headDim], else of one a head.
  const stacked = group > MAX_READERS
  const inMatrices = (x: Value): Value => stacked ? g.reshape(x, kvHeads, 1, -1, 0) : x
  const inHeads = (x: Value): Value => stacked ? g.reshape(x, kvHeads, group, -1, 0) : x
  const queries = inMatrices(g.op('Transpose', [g.reshape(qr, -1, kvHeads, group, headDim)], { perm: [1, 2, 0, 3] }))
  const newK = g.op('Transpose', [perHead(kr, kvHeads)], { perm: [1, 0, 2] })
  const newV = g.op('Transpose', [vn], { perm: [1, 0, 2] })
  g.output('new_k', newK, 'f32', [kvHeads, 'tokens', headDim])
  g.output('new_v', newV, 'f32', [kvHeads, 'tokens', headDim])
  const alone = (x: Value): Value => g.reshape(x, kvHeads, 1, -1, headDim)

  // Cached and new keys are scored apart and soft-maxed together: joining the scores is cheaper than joining the keys.
  const scores = (keys: Value, mask: Value): Value => g.op('Add', [inHeads(g.contrib('FusedMatMul', [queries, keys], { transB: 1, alpha: { float: queryScale } })), mask])
  const joined = g.op('Concat', [scores(cacheK, cacheMask), scores(alone(newK), newMask)], { axis: -1 })
  const [ofCache, ofNew] = g.ops('Split', [g.op('Softmax', [joined], { axis: -1 }), keySplit], 2, { axis: -1 })
  const read = (p: Value, values: Value): Value => g.op('MatMul', [inMatrices(p), values])
  const out = inHeads(g.op('Add', [read(ofCache, cacheV), read(ofNew, alone(newV))]))
  const perToken = g.op('Transpose', [out], { perm: [2, 0, 1, 3] })
  return g.linear(g.reshape(perToken, -1, heads * headDim), w.name('o'), w.entry('o'))
}
