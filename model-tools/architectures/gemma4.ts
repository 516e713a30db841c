import type { ModelConfig } from '../bundle/manifest.js'
import type { Architecture } from './architecture.js'
import { GEMMA_IGNORED } from './gemma-config.js'
import { parseGemma4Config } from './gemma4-config.js'
import { parseGemma4Drafter } from './gemma4-drafter.js'
import { gemma4Gguf } from './gemma4-gguf.js'
import { gemma4Layer } from './gemma4-layer.js'
import { attentionSources, clientPlans, drafterPlans, matrix, vector, type LayerSources } from './tensors.js'

export const gemma4: Architecture = {
  modelTypes: ['gemma4', 'gemma4_text'],
  prefixes: ['model.language_model.', 'model.'],
  parseConfig: parseGemma4Config,
  clientTensors: (config, quant) => clientPlans(config, quant, layer => layerSources(config, layer)),
  expertSources (config, layer) {
    const { experts, hiddenSize, expertIntermediateSize } = config
    return {
      gateUp: [{ name: `layers.${layer}.experts.gate_up_proj`, shape: [experts, 2 * expertIntermediateSize, hiddenSize] }],
      down: [{ name: `layers.${layer}.experts.down_proj`, shape: [experts, hiddenSize, expertIntermediateSize] }]
    }
  },
  isIgnored: name => GEMMA_IGNORED.test(name),
  layer: gemma4Layer,
  drafter: { modelType: 'gemma4_assistant', parseConfig: parseGemma4Drafter, tensors: drafterPlans, isIgnored: name => /^lm_head\./.test(name) },
  gguf: gemma4Gguf
}

function layerSources (config: ModelConfig, layer: number): LayerSources {
  const { hiddenSize, denseIntermediateSize, experts } = config
  const at = `layers.${layer}.`
  return {
    ...attentionSources(config, layer),
    pre_dense_norm: [vector(`${at}pre_feedforward_layernorm.weight`, hiddenSize)],
    dense_gate_up: [
      matrix(`${at}mlp.gate_proj.weight`, denseIntermediateSize, hiddenSize),
      matrix(`${at}mlp.up_proj.weight`, denseIntermediateSize, hiddenSize)
    ],
    dense_down: [matrix(`${at}mlp.down_proj.weight`, hiddenSize, denseIntermediateSize)],
    post_dense_norm: [vector(`${at}post_feedforward_layernorm_1.weight`, hiddenSize)],
    router: [matrix(`${at}router.proj.weight`, experts, hiddenSize)],
    router_scale: [vector(`${at}router.scale`, hiddenSize)],
    per_expert_scale: [vector(`${at}router.per_expert_scale`, experts)],
    pre_expert_norm: [vector(`${at}pre_feedforward_layernorm_2.weight`, hiddenSize)],
    post_expert_norm: [vector(`${at}post_feedforward_layernorm_2.weight`, hiddenSize)],
    post_ffn_norm: [vector(`${at}post_feedforward_layernorm.weight`, hiddenSize)],
    layer_scalar: [vector(`${at}layer_scalar`, 1)]
  }
}
