import type { LayerMath } from './layer-math.js'

/**
 * A layer of Gemma 3 (transformers' modeling_gemma3.py, class Gemma3DecoderLayer): its MLP is the one expert, between two norms. Values
 * are stored as they are projected.
 */
export const gemma3Layer: LayerMath = {
  normsValues: false,
  combine: (g, w, residual, experts) => g.op('Add', [residual, g.rmsNorm(experts, w.vector('post_ffn_norm'))])
}
