import type { ArchitectureName, DrafterConfig, ModelConfig, WeightFormat } from '../bundle/manifest.js'
import { ModelError } from '../errors.js'
import { Fields } from '../fields.js'
import type { Architecture, ClientTensorPlan, GgufForm } from './architecture.js'
import { gemma3 } from './gemma3.js'
import { gemma4 } from './gemma4.js'

/** Every architecture that can be converted and run, by the name that manifests use. */
const ARCHITECTURES: Record<ArchitectureName, Architecture> = { gemma3, gemma4 }

export function architectureOf (config: Pick<ModelConfig, 'architecture'>): Architecture {
  return ARCHITECTURES[config.architecture]
}

/** Every tensor of the client part, that of the drafter too, file by file. */
export function clientTensors (config: ModelConfig, quant: WeightFormat, drafter?: DrafterConfig): ClientTensorPlan[] {
  const { clientTensors, drafter: form } = architectureOf(config)
  return [...clientTensors(config, quant), ...drafter == null || form == null ? [] : form.tensors(config, drafter, quant)]
}

/**
 * The architecture of a checkpoint by the `model_type` of its config.json.
 * Throws ModelError 'unsupported' naming the type and those that are supported.
 */
export function architectureOfCheckpoint (config: unknown): Architecture {
  const fields = new Fields(config, 'config.json')
  const type = fields.get('model_type')
  const all = Object.values(ARCHITECTURES)
  const found = all.find(architecture => typeof type === 'string' && architecture.modelTypes.includes(type))
  if (found == null) {
    throw new ModelError('unsupported', `config.json: model_type ${JSON.stringify(type)} is not supported; supported are ${all.flatMap(({ modelTypes }) => modelTypes).join(', ')}.`,
      { key: 'model_type', value: type })
  }
  return found
}

/**
 * The architecture of a GGUF file by its `general.architecture`.
 * Throws ModelError 'unsupported' naming it and those that are supported.
 */
export function architectureOfGguf (name: unknown, where: string): Architecture & { gguf: GgufForm } {
  const all = Object.values(ARCHITECTURES).filter(hasGguf)
  const found = all.find(({ gguf }) => gguf.architecture === name)
  if (found == null) {
    throw new ModelError('unsupported', `${where}: general.architecture ${JSON.stringify(name)} is not supported; supported are ${all.map(({ gguf }) => gguf.architecture).join(', ')}.`,
      { key: 'general.architecture', value: name })
  }
  return found
}

function hasGguf (architecture: Architecture): architecture is Architecture & { gguf: GgufForm } {
  return architecture.gguf != null
}
