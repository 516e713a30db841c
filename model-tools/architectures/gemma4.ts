import type { ModelConfig, WeightFormat } from '../bundle/manifest.js'
import { attentionRows, type Architecture, type ClientTensorPlan, type SourceTensor } from './architecture.js'
import { parseGemma4Config } from './gemma4-config.js'
import { gemma4Gguf } from './gemma4-gguf.js'

/** Tensors of the client part that exist once. [vocab, hidden] and [hidden]. */
export const CLIENT_TENSORS = ['embedding', 'final_norm'] as const

/**
 * Tensors of the client part of one layer, named `layers.N.<name>` in the manifest; H hidden, I dense intermediate, E experts.
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

/** Modules of multimodal checkpoints beside the text model, and the head, which is tied to the embedding. */
const IGNORED = /^(vision_tower|embed_vision|audio_tower|embed_audio|multi_modal_projector|lm_head)\./

export const gemma4: Architecture = {
  modelTypes: ['gemma4', 'gemma4_text'],
  prefixes: ['model.language_model.', 'model.'],
  parseConfig: parseGemma4Config,
  clientTensors,
  expertSources (config, layer) {
    const { experts, hiddenSize, expertIntermediateSize } = config
    return {
      gateUp: { name: `layers.${layer}.experts.gate_up_proj`, shape: [experts, 2 * expertIntermediateSize, hiddenSize] },
      down: { name: `layers.${layer}.experts.down_proj`, shape: [experts, hiddenSize, expertIntermediateSize] }
    }
  },
  isIgnored: name => IGNORED.test(name),
  gguf: gemma4Gguf
}

function clientTensors (config: ModelConfig, quant: WeightFormat): ClientTensorPlan[] {
  const { vocabSize, hiddenSize } = config
  const plans: ClientTensorPlan[] = [
    // Four bits cost the embedding and the head, which are one matrix, more quality than the bytes are worth.
    plan('embedding', 'client/embedding.bin', quant === 'q4' ? 'q8' : quant, [matrix('embed_tokens.weight', vocabSize, hiddenSize)])
  ]
  for (let layer = 0; layer < config.layerTypes.length; layer++) plans.push(...layerTensors(config, quant, layer))
  plans.push(plan('final_norm', 'client/final.bin', 'f32', [vector('norm.weight', hiddenSize)]))
  return plans
}

function layerTensors (config: ModelConfig, quant: WeightFormat, layer: number): ClientTensorPlan[] {
  const { hiddenSize, denseIntermediateSize, experts } = config
  const type = config.layerTypes[layer]
  const { headDim, valueFromKey } = config.attention[type]
  const { q, kv } = attentionRows(config, type)
  const at = `layers.${layer}.`
  const attention = `${at}self_attn.`
  const norm = (name: string, size = hiddenSize): SourceTensor[] => [vector(`${at}${name}.weight`, size)]
  const sources: Record<LayerTensorName, SourceTensor[]> = {
    input_norm: norm('input_layernorm'),
    qkv: [
      matrix(`${attention}q_proj.weight`, q, hiddenSize),
      matrix(`${attention}k_proj.weight`, kv, hiddenSize),
      ...valueFromKey ? [] : [matrix(`${attention}v_proj.weight`, kv, hiddenSize)]
    ],
    q_norm: norm('self_attn.q_norm', headDim),
    k_norm: norm('self_attn.k_norm', headDim),
    o: [matrix(`${attention}o_proj.weight`, hiddenSize, q)],
    post_attention_norm: norm('post_attention_layernorm'),
    pre_dense_norm: norm('pre_feedforward_layernorm'),
    dense_gate_up: [
      matrix(`${at}mlp.gate_proj.weight`, denseIntermediateSize, hiddenSize),
      matrix(`${at}mlp.up_proj.weight`, denseIntermediateSize, hiddenSize)
    ],
    dense_down: [matrix(`${at}mlp.down_proj.weight`, hiddenSize, denseIntermediateSize)],
    post_dense_norm: norm('post_feedforward_layernorm_1'),
    router: [matrix(`${at}router.proj.weight`, experts, hiddenSize)],
    router_scale: [vector(`${at}router.scale`, hiddenSize)],
    per_expert_scale: [vector(`${at}router.per_expert_scale`, experts)],
    pre_expert_norm: norm('pre_feedforward_layernorm_2'),
    post_expert_norm: norm('post_feedforward_layernorm_2'),
    post_ffn_norm: norm('post_feedforward_layernorm'),
    layer_scalar: [vector(`${at}layer_scalar`, 1)]
  }
  const file = `client/layer-${String(layer).padStart(2, '0')}.bin`
  return LAYER_TENSORS.map(name => {
    // A rounding of the router changes which experts are chosen, and it is small.
    const isWeight = sources[name][0].shape.length === 2 && name !== 'router'
    return plan(`${at}${name}`, file, isWeight ? quant : 'f32', sources[name])
  })
}

function plan (name: string, file: string, format: WeightFormat, sources: SourceTensor[]): ClientTensorPlan {
  const [{ shape: [first, ...inner] }] = sources
  const rows = sources.reduce((sum, source) => sum + source.shape[0], 0)
  return { name, file, format, shape: inner.length === 0 ? [first] : [rows, ...inner], sources }
}

function matrix (name: string, rows: number, columns: number): SourceTensor {
  return { name, shape: [rows, columns] }
}

function vector (name: string, size: number): SourceTensor {
  return { name, shape: [size] }
}
