import type { LayerMath } from './layer-math.js'

/** A layer of Gemma 4 (gemma4-spec, section 5): a dense MLP and routed experts side by side. */
export const gemma4Layer: LayerMath = {
  normsValues: true,
  /**
   * Top-k of the logits, then softmax over those k: in exact arithmetic the softmax over all, re-normalised over the top k.
   * The router sees the raw residual through a weightless norm of its own.
   */
  router (g, w, config, residual) {
    const scale = g.op('Mul', [w.vector('router_scale'), g.floats([1 / Math.sqrt(config.hiddenSize)])])
    const logits = g.linear(g.rmsNorm(residual, scale), w.name('router'), w.entry('router'))
    const [top, ids] = g.ops('TopK', [logits, g.ints(config.topK)], 2, { axis: -1, largest: 1, sorted: 1 })
    const weights = g.op('Mul', [g.op('Softmax', [top], { axis: -1 }), g.op('Gather', [w.vector('per_expert_scale'), ids])])
    return { ids, weights }
  },
  dense: {
    mlp (g, w, residual) {
      const x = g.rmsNorm(residual, w.vector('pre_dense_norm'))
      const d = g.gatedMlp(x, { gateUp: w.name('dense_gate_up'), down: w.name('dense_down') }, w.entry('dense_gate_up'), w.entry('dense_down'))
      return g.rmsNorm(d, w.vector('post_dense_norm'))
    },
    join: (g, w, experts, dense) => g.op('Add', [dense, g.rmsNorm(experts, w.vector('post_expert_norm'))])
  },
  combine: (g, w, residual, experts) => g.op('Mul', [g.op('Add', [residual, g.rmsNorm(experts, w.vector('post_ffn_norm'))]), w.vector('layer_scalar')])
}
