import type { ModelConfig } from '../bundle/manifest.js'
import type { GraphBuilder, Value } from '../graphs/builder.js'
import type { LayerWeights } from '../graphs/weights.js'

/**
 * What a model family does in a layer where others do something else. Every function adds operators to the graph at hand; activations
 * are [tokens, H]. graphs/layer.ts does the rest.
 */
export interface LayerMath {
  /** Whether each head's values are normed, without a weight. */
  readonly normsValues: boolean
  /**
   * Which experts each token takes and by what their results are multiplied, [tokens, K] each, from the stream after attention.
   * Absent in dense models: every layer has one expert, which every token takes with weight 1.
   */
  readonly router?: (g: GraphBuilder, w: LayerWeights, config: ModelConfig, residual: Value) => { ids: Value, weights: Value }
  /** The MLP beside the experts. It is the client's, and computes while the experts' request travels. */
  readonly dense?: {
    /** Its result from the stream after attention. */
    mlp: (g: GraphBuilder, w: LayerWeights, residual: Value) => Value
    /** Both branches together. */
    join: (g: GraphBuilder, w: LayerWeights, experts: Value, dense: Value) => Value
  }
  /** The stream behind the layer from that after attention and the experts' sum, which `dense` has been joined with. */
  readonly combine: (g: GraphBuilder, w: LayerWeights, residual: Value, experts: Value) => Value
}
