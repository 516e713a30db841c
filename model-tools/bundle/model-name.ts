import type { BundleManifest, ModelConfig } from './manifest.js'

/**
 * What people call a model: family, parameters and weight format, such as gemma4:25b-u4. It follows from the manifest, so everybody has the same name for the same
 * id; but other models of its shape have it too.
 */
export function modelName ({ config, quant }: BundleManifest): string {
  return `${config.architecture}:${rounded(parameters(config))}-${quant}`
}

/** Weights of all matrices, the drafter's aside. */
export function parameters (config: ModelConfig): number {
  const { vocabSize, hiddenSize: H, denseIntermediateSize, experts, expertIntermediateSize, layerTypes, attention } = config
  const mlp = 3 * H * (denseIntermediateSize + experts * expertIntermediateSize) + (experts > 1 ? experts * H : 0)
  const layers = layerTypes.map(type => {
    const { heads, kvHeads, headDim, valueFromKey } = attention[type]
    return H * headDim * (2 * heads + kvHeads * (valueFromKey ? 1 : 2)) + mlp
  })
  return vocabSize * H + layers.reduce((sum, weights) => sum + weights, 0)
}

/** 25b, 1.4b, 270m, 60k. */
function rounded (count: number): string {
  const [unit, letter] = count >= 1e9 ? [1e9, 'b'] : count >= 1e6 ? [1e6, 'm'] : [1e3, 'k']
  return `${Number((count / unit).toPrecision(count / unit < 10 ? 2 : 3)).toFixed(count / unit < 10 ? 1 : 0).replace(/\.0$/, '')}${letter}`
}
