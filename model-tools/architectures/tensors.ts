import type { DrafterConfig, ModelConfig, WeightFormat } from '../bundle/manifest.js'
import { attentionRows, type ClientTensorPlan, type SourceTensor } from './architecture.js'

/**
 * Tensors of the client part that exist once: `embedding` [vocab, hidden], `final_norm` [hidden], and in u4 bundles alone `head` [vocab, hidden], the embedding
 * again in 4 bits. Where there is none, the embedding is the head.
 */
export const CLIENT_TENSORS = ['embedding', 'final_norm', 'head'] as const

/**
 * Tensors of the client part of one layer, named `layers.N.<name>` in the manifest, in the order in which they lie in the layer's file; an
 * architecture has some of them. H hidden, I dense intermediate, E experts.
 *
 * - `input_norm` [H]
 * - `qkv` `[q + k + v rows, H]`: rows of q, then k, then v; q, then k where V comes from K
 * - `q_norm`, `k_norm` [head dim]
 * - `o` [H, q rows]
 * - `post_attention_norm`, `pre_dense_norm` [H]
 * - `dense_gate_up` `[2 * I, H]`: gate rows, then up rows; `dense_down` `[H, I]`
 * - `post_dense_norm` [H]
 * - `router` [E, H], `router_scale` [H], `per_expert_scale` [E]
 * - `pre_expert_norm`, `post_expert_norm`, `post_ffn_norm` [H]
 * - `layer_scalar` [1]
 */
export const LAYER_TENSORS = [
  'input_norm', 'qkv', 'q_norm', 'k_norm', 'o', 'post_attention_norm', 'pre_dense_norm', 'dense_gate_up', 'dense_down', 'post_dense_norm', 'router', 'router_scale',
  'per_expert_scale', 'pre_expert_norm', 'post_expert_norm', 'post_ffn_norm', 'layer_scalar'
] as const

/**
 * Tensors of a drafter that exist once, named `drafter.<name>`, in the order in which they lie in its file. D its hidden size, H the model's.
 *
 * - `pre_projection` `[D, 2 * H]`: of the token's embedding, then of the state
 * - `post_projection` [H, D], `final_norm` [D], `embedding` `[vocab, D]`: its head
 */
export const DRAFTER_TENSORS = ['pre_projection', 'post_projection', 'final_norm', 'embedding'] as const

/**
 * Tensors of one layer of a drafter, named `drafter.layers.N.<name>`. I its intermediate size.
 *
 * - `input_norm`, `post_attention_norm`, `pre_mlp_norm`, `post_mlp_norm` [D]
 * - `q` [q rows, D], `q_norm` [head dim], `o` [D, q rows]
 * - `gate_up` `[2 * I, D]`: gate rows, then up rows; `down` [D, I]
 * - `layer_scalar` [1]
 */
export const DRAFTER_LAYER_TENSORS = ['input_norm', 'q', 'q_norm', 'o', 'post_attention_norm', 'pre_mlp_norm', 'gate_up', 'down', 'post_mlp_norm', 'layer_scalar'] as const

export type DrafterTensorName = `drafter.${typeof DRAFTER_TENSORS[number] | `layers.${number}.${typeof DRAFTER_LAYER_TENSORS[number]}`}`

export type LayerTensorName = typeof LAYER_TENSORS[number]
/** Key of a tensor in a manifest: a contract with the graphs. */
export type ClientTensorName = typeof CLIENT_TENSORS[number] | `layers.${number}.${LayerTensorName}` | DrafterTensorName

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
    plan('embedding', 'client/embedding.bin', embeddingFormat(quant), [matrix('embed_tokens.weight', vocabSize, hiddenSize)]),
    ...layerTypes.flatMap((_, layer) => layerPlans(sourcesOf(layer), quant, layer, normOffset)),
    plan('final_norm', 'client/final.bin', 'f32', [vector('norm.weight', hiddenSize)], normOffset),
    // The head is a fifth of what a token reads. What 4 bits blur there the client computes again from the embedding, for the few tokens that matter.
    ...quant === 'u4' ? [plan('head', 'client/head.bin', quant, [matrix('embed_tokens.weight', vocabSize, hiddenSize)])] : []
  ]
}

/** A drafter's tensors, all in one file. Its matrices have the formats that the model's client part has; its head, which only proposes, that of the model's head. */
export function drafterPlans (target: ModelConfig, { hiddenSize, layerTypes, heads, intermediateSize }: DrafterConfig, quant: WeightFormat): ClientTensorPlan[] {
  const file = 'client/drafter.bin'
  const layers = layerTypes.flatMap((type, layer) => {
    const at = `model.layers.${layer}.`
    const { headDim } = target.attention[type]
    const sources: Record<typeof DRAFTER_LAYER_TENSORS[number], SourceTensor[]> = {
      input_norm: [vector(`${at}input_layernorm.weight`, hiddenSize)],
      q: [matrix(`${at}self_attn.q_proj.weight`, heads * headDim, hiddenSize)],
      q_norm: [vector(`${at}self_attn.q_norm.weight`, headDim)],
      o: [matrix(`${at}self_attn.o_proj.weight`, hiddenSize, heads * headDim)],
      post_attention_norm: [vector(`${at}post_attention_layernorm.weight`, hiddenSize)],
      pre_mlp_norm: [vector(`${at}pre_feedforward_layernorm.weight`, hiddenSize)],
      gate_up: [matrix(`${at}mlp.gate_proj.weight`, intermediateSize, hiddenSize), matrix(`${at}mlp.up_proj.weight`, intermediateSize, hiddenSize)],
      down: [matrix(`${at}mlp.down_proj.weight`, hiddenSize, intermediateSize)],
      post_mlp_norm: [vector(`${at}post_feedforward_layernorm.weight`, hiddenSize)],
      layer_scalar: [vector(`${at}layer_scalar`, 1)]
    }
    return DRAFTER_LAYER_TENSORS.map(name => plan(`drafter.layers.${layer}.${name}`, file, sources[name][0].shape.length === 2 ? quant : 'f32', sources[name]))
  })
  return [
    plan('drafter.pre_projection', file, quant, [matrix('pre_projection.weight', hiddenSize, 2 * target.hiddenSize)]),
    ...layers,
    plan('drafter.post_projection', file, quant, [matrix('post_projection.weight', target.hiddenSize, hiddenSize)]),
    plan('drafter.final_norm', file, 'f32', [vector('model.norm.weight', hiddenSize)]),
    plan('drafter.embedding', file, quant === 'u4' ? quant : embeddingFormat(quant), [matrix('model.embed_tokens.weight', target.vocabSize, hiddenSize)])
  ]
}

/** Four bits cost the embedding and the head, which are one matrix, more quality than the bytes are worth. */
function embeddingFormat (quant: WeightFormat): WeightFormat {
  return quant === 'q4' || quant === 'u4' ? 'q8' : quant
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
