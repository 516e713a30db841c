import type { Architecture } from './architecture.js'
import { GEMMA_IGNORED } from './gemma-config.js'
import { parseGemma3Config } from './gemma3-config.js'
import { gemma3Gguf } from './gemma3-gguf.js'
import { gemma3Layer } from './gemma3-layer.js'
import { attentionSources, clientPlans, matrix, vector } from './tensors.js'

/**
 * Gemma 3's norms multiply by 1 + weight (modeling_gemma3.py, class Gemma3RMSNorm). The bundle holds that sum, so that all graphs multiply by
 * what they read. Nothing is lost: the reference adds in float32, too, whatever the weight's dtype, and the sums are the same bit by bit.
 */
const NORM_OFFSET = 1

export const gemma3: Architecture = {
  modelTypes: ['gemma3', 'gemma3_text'],
  prefixes: ['language_model.model.', 'model.language_model.', 'model.'],
  parseConfig: parseGemma3Config,
  clientTensors: (config, quant) => clientPlans(config, quant, layer => ({
    ...attentionSources(config, layer),
    pre_expert_norm: [vector(`layers.${layer}.pre_feedforward_layernorm.weight`, config.hiddenSize)],
    post_ffn_norm: [vector(`layers.${layer}.post_feedforward_layernorm.weight`, config.hiddenSize)]
  }), NORM_OFFSET),
  expertSources ({ hiddenSize, expertIntermediateSize }, layer) {
    const mlp = `layers.${layer}.mlp.`
    return {
      gateUp: [matrix(`${mlp}gate_proj.weight`, expertIntermediateSize, hiddenSize), matrix(`${mlp}up_proj.weight`, expertIntermediateSize, hiddenSize)],
      down: [matrix(`${mlp}down_proj.weight`, hiddenSize, expertIntermediateSize)]
    }
  },
  isIgnored: name => GEMMA_IGNORED.test(name),
  layer: gemma3Layer,
  gguf: gemma3Gguf
}
