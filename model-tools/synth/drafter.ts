import type { Architecture, ClientTensorPlan } from '../architectures/architecture.js'
import type { DrafterConfig, ModelConfig } from '../bundle/manifest.js'
import { ModelError } from '../errors.js'
import { SyntheticTensors, type DtypeChoice } from './tensors.js'
import type { Distribution } from './values.js'

/** Config and random weights of a drafter of the shape that goes with a model's. It proposes at random, but costs what the real one costs. */
export function syntheticDrafter (shape: string, raw: Record<string, unknown> | undefined, { drafter: form }: Architecture, config: ModelConfig, dtypeFor: DtypeChoice, seed = 0): { config: DrafterConfig, tensors: SyntheticTensors } {
  if (raw == null || form == null) throw new ModelError('unsupported', `There is no drafter of the shape of ${shape}; leave out --drafter.`, { shape })
  const drafter = form.parseConfig(raw, config)
  const sources = form.tensors(config, drafter, 'f32').flatMap((plan: ClientTensorPlan) => plan.sources)
  return {
    config: drafter,
    tensors: new SyntheticTensors(`the synthetic drafter of ${shape}`, `synthetic-drafter:${shape}:${seed}`, sources.map(tensor => ({
      name: tensor.name, shape: tensor.shape, dtype: dtypeFor({ ...tensor, name: tensor.name.replace(/^model\./, '') }), distribution: distributionOf(tensor.shape)
    })))
  }
}

function distributionOf (shape: number[]): Distribution {
  return shape.length === 1 ? { mean: 1, deviation: 0.05 } : { mean: 0, deviation: shape[1] ** -0.5 }
}
