export { expertGraph } from './expert.js'
export { attentionGraph, denseMlpGraph, headGraph, type TensorLookup } from './layer.js'
