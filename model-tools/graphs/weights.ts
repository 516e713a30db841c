import type { ClientTensorName, LayerTensorName } from '../architectures/tensors.js'
import type { TensorEntry } from '../bundle/manifest.js'
import type { GraphBuilder, Value } from './builder.js'

/** Looks up a tensor of the client part by its bundle name. */
export type TensorLookup = (name: ClientTensorName) => TensorEntry

/** The tensors of one layer, by their names in it. */
export interface LayerWeights {
  name: (tensor: LayerTensorName) => ClientTensorName
  entry: (tensor: LayerTensorName) => TensorEntry
  /** As a value of the graph: for norms and scales. */
  vector: (tensor: LayerTensorName) => Value
}

export function layerWeights (g: GraphBuilder, layer: number, tensor: TensorLookup): LayerWeights {
  const name: LayerWeights['name'] = t => `layers.${layer}.${t}`
  return { name, entry: t => tensor(name(t)), vector: t => g.weight(name(t), tensor(name(t))) }
}
