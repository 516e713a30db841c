import type { ModelConfig } from '../bundle/manifest.js'
import { GraphBuilder, type GraphTensor } from './builder.js'

/**
 * One expert: `hidden` [rows, H] -> `output` [rows, H] = down(gelu(gate hidden) * up hidden). The router weight applies after down
 * (gemma4-spec, section 5): who adds up the experts multiplies by it.
 */
export function expertGraph (config: Pick<ModelConfig, 'hiddenSize' | 'rmsNormEps'>, gateUp: GraphTensor, down: GraphTensor): Uint8Array {
  const g = new GraphBuilder('expert', config.rmsNormEps)
  const hidden = g.input('hidden', 'f32', ['rows', config.hiddenSize])
  g.output('output', g.gatedMlp(hidden, { gateUp: 'gate_up', down: 'down' }, gateUp, down), 'f32', ['rows', config.hiddenSize])
  return g.build()
}

/** `x` [rows, columns] -> `y`, its squares. Shows whether a device computes at all. */
export function probeGraph (): Uint8Array {
  const g = new GraphBuilder('probe', 0)
  const x = g.input('x', 'f32', ['rows', 'columns'])
  g.output('y', g.op('Mul', [x, x]), 'f32', ['rows', 'columns'])
  return g.build()
}

/** Only the two products: `a` [rows, in of gateUp] -> `x` = a gateUp^T, `b` -> `y` = b down^T. Shows what a kernel does. */
export function productsGraph (gateUp: GraphTensor, down: GraphTensor): Uint8Array {
  const g = new GraphBuilder('products', 0)
  g.output('x', g.linear(g.input('a', 'f32', ['rows', gateUp.shape[1]]), 'gate_up', gateUp), 'f32', ['rows', gateUp.shape[0]])
  g.output('y', g.linear(g.input('b', 'f32', ['rows', down.shape[1]]), 'down', down), 'f32', ['rows', down.shape[0]])
  return g.build()
}
