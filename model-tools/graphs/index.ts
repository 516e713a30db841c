export { expertGraph, productsGraph } from './expert.js'
export { attentionGraph, denseMlpGraph, headGraph } from './layer.js'
export type { TensorLookup } from './weights.js'
export type { GraphTensor } from './builder.js'
