import type { ModelConfig, WeightFormat } from '../bundle/manifest.js'
import { attentionRows, type ClientTensorPlan, type SourceTensor } from './architecture.js'

/** Tensors of the client part that exist once. [vocab, hidden] and [hidden]. */
export const CLIENT_TENSORS = ['embedding', 'final_norm'] as const

/**
 * Tensors of the client part of one layer, named `layers.N.<name>` in the manifest, in the order in which they lie in the layer's file; an
 * architecture has some of them. H hidden, I dense intermediate, E experts.
 *
 * - `input_norm` [H]
 * - `qkv` [q + k + v rows, H]: rows of q, then k, then v; q, then k where V comes from K
 * - `q_norm`, `k_norm` [head dim]
 * - `o` [H, q rows]
 * - `post_attention_norm`, `pre_dense_norm` [H]
 * - `dense_gate_up` [2 * I, H]: gate rows, then up rows; `dense_down` [H, I]
 * - `post_dense_norm` [H]
 * - `router` [E, H], `router_scale` [H], `per_expert_scale` [E]
 * - `pre_expert_norm`, `post_expert_norm`, `post_ffn_norm` [H]
 * - `layer_scalar` [1]
 */
export const LAYER_TENSORS = [
  'input_norm', 'qkv', 'q_norm', 'k_norm', 'o', 'post_attention_norm', 'pre_dense_norm', 'dense_gate_up', 'dense_down', 'post_dense_norm', 'router', 'router_scale',
  'per_expert_scale', 'pre_expert_norm', 'post_expert_norm', 'post_ffn_norm', 'layer_scalar'
] as const

export type LayerTensorName = typeof LAYER_TENSORS[number]
/** Key of a tensor in a manifest: a contract with the graphs. */
export type ClientTensorName = typeof CLIENT_TENSORS[number] | `layers.${number}.${LayerTensorName}`

/** What each tensor of a layer is made of: the rows of its sources, one after the other. */
export type LayerSources = Partial<Record<LayerTensorName, SourceTensor[]>>

/**
 * The client part of a model with a tied head, file by file.
 *
 * @param sourcesOf - the tensors of a layer
 * @param normOffset - what the architecture adds to the weight of every norm before it multiplies by it
 */
export function clientPlans (config: ModelConfig, quant: WeightFormat, sourcesOf: (layer: number) => LayerSources, normOffset = 0): ClientTensorPlan[] {
  const { vocabSize, hiddenSize, layerTypes } = config
  return [
    // Four bits cost the embedding and the head, which are one matrix, more quality than the bytes are worth.
    plan('embedding', 'client/embedding.bin', quant === 'q4' ? 'q8' : quant, [matrix('embed_tokens.weight', vocabSize, hiddenSize)]),
    ...layerTypes.flatMap((_, layer) => layerPlans(sourcesOf(layer), quant, layer, normOffset)),
    plan('final_norm', 'client/final.bin', 'f32', [vector('norm.weight', hiddenSize)], normOffset)
  ]
}

/** Attention with a norm before and behind it, as transformers names its tensors in every Gemma. */
export function attentionSources (config: ModelConfig, layer: number): LayerSources & Record<'input_norm' | 'qkv' | 'q_norm' | 'k_norm' | 'o' | 'post_attention_norm', SourceTensor[]> {
  const { hiddenSize } = config
  const type = config.layerTypes[layer]
  const { headDim, valueFromKey } = config.attention[type]
  const { q, kv } = attentionRows(config, type)
  const at = `layers.${layer}.`
  const attention = `${at}self_attn.`
  return {
    input_norm: [vector(`${at}input_layernorm.weight`, hiddenSize)],
    qkv: [
      matrix(`${attention}q_proj.weight`, q, hiddenSize),
      matrix(`${attention}k_proj.weight`, kv, hiddenSize),
      ...valueFromKey ? [] : [matrix(`${attention}v_proj.weight`, kv, hiddenSize)]
    ],
    q_norm: [vector(`${attention}q_norm.weight`, headDim)],
    k_norm: [vector(`${attention}k_norm.weight`, headDim)],
    o: [matrix(`${attention}o_proj.weight`, hiddenSize, q)],
    post_attention_norm: [vector(`${at}post_attention_layernorm.weight`, hiddenSize)]
  }
}

export function matrix (name: string, rows: number, columns: number): SourceTensor {
  return { name, shape: [rows, columns] }
}

export function vector (name: string, size: number): SourceTensor {
  return { name, shape: [size] }
}

function layerPlans (sources: LayerSources, quant: WeightFormat, layer: number, normOffset: number): ClientTensorPlan[] {
  const file = `client/layer-${String(layer).padStart(2, '0')}.bin`
  return LAYER_TENSORS.flatMap(name => {
    const own = sources[name]
    if (own == null) return []
    // A rounding of the router changes which experts are chosen, and it is small.
    const isWeight = own[0].shape.length === 2 && name !== 'router'
    return plan(`layers.${layer}.${name}`, file, isWeight ? quant : 'f32', own, name.endsWith('_norm') ? normOffset : 0)
  })
}

function plan (name: string, file: string, format: WeightFormat, sources: SourceTensor[], offset = 0): ClientTensorPlan {
  const [{ shape: [first, ...inner] }] = sources
  const rows = sources.reduce((sum, source) => sum + source.shape[0], 0)
  return { name, file, format, shape: inner.length === 0 ? [first] : [rows, ...inner], sources, offset }
}
