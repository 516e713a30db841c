import type { ModelConfig } from '../bundle/manifest.js'
import { GraphBuilder, type GraphTensor } from './builder.js'

/**
 * One expert: `hidden` [rows, H], `weight` [rows, 1] -> `output` [rows, H] = weight * down(gelu(gate hidden) * up hidden)
 * (gemma4-spec, section 5: the router weight applies after down).
 */
export function expertGraph (config: ModelConfig, gateUp: GraphTensor, down: GraphTensor): Uint8Array {
  const g = new GraphBuilder('expert', config.rmsNormEps)
  const hidden = g.input('hidden', 'f32', ['rows', config.hiddenSize])
  const weight = g.input('weight', 'f32', ['rows', 1])
  const y = g.gatedMlp(hidden, { gateUp: 'gate_up', down: 'down' }, gateUp, down)
  g.output('output', g.op('Mul', [y, weight]), 'f32', ['rows', config.hiddenSize])
  return g.build()
}
