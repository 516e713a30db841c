import type { Architecture, DrafterForm, SourceTensor } from '../architectures/architecture.js'
import { clientTensors } from '../architectures/index.js'
import { dtypeOf } from '../checkpoint/dtypes.js'
import { DRAFTER_PREFIX } from '../checkpoint/joined.js'
import type { TensorReader } from '../checkpoint/source.js'
import { ModelError } from '../errors.js'
import { isQuantized } from '../quantize/rows.js'
import { align, blocksOf, expertLayout, placeTensor } from './layout.js'
import { QUANT_BLOCKS, type BlockEntry, type DrafterConfig, type ModelConfig, type QuantFormat, type TensorEntry, type WeightFormat } from './manifest.js'

/** Rows [firstRow, firstRow + rows) of a checkpoint tensor seen as a matrix [.., columns]. */
export interface RowRange {
  name: string
  firstRow: number
  rows: number
  columns: number
}

/** One tensor of a file, and the rows that make it up. */
export interface PartPlan {
  entry: TensorEntry
  sources: RowRange[]
  /** Added to every value. */
  offset: number
}

/** One file of weights: its tensors in the order in which they lie in it. */
export interface FilePlan {
  file: string
  bytes: number
  parts: PartPlan[]
}

export interface ConversionPlan {
  files: FilePlan[]
  tensors: Record<string, TensorEntry>
  blocks: BlockEntry[]
}

/**
 * Decides where every byte of a bundle comes from, before any weight is read.
 * Throws ModelError 'missing-tensor' naming all that are missing, 'wrong-shape', 'unsupported' for tensors that nothing would
 * use or sizes that the format cannot hold.
 *
 * @param drafter - whose tensors `source` has been joined with
 */
export function planConversion (source: TensorReader, architecture: Architecture, config: ModelConfig, quant: WeightFormat, blockExperts: number, drafter?: DrafterConfig): ConversionPlan {
  requireQuantizable(config, quant, drafter)
  const prefix = choosePrefix(source, architecture)
  requireTensors(source, prefix, architecture, [
    ...architecture.clientTensors(config, quant).flatMap(plan => plan.sources), ...config.layerTypes.flatMap((_, layer) => expertTensors(architecture, config, layer))
  ])

  const files = new Map<string, FilePlan>()
  const tensors: Record<string, TensorEntry> = {}
  for (const { name, file, format, shape, sources, offset } of clientTensors(config, quant, drafter)) {
    const plan = files.get(file) ?? { file, bytes: 0, parts: [] }
    const { entry, end } = placeTensor(file, format, shape, align(plan.bytes))
    plan.parts.push({ entry, sources: sources.map(tensor => wholeTensor((name.startsWith('drafter.') ? DRAFTER_PREFIX : prefix) + tensor.name, tensor.shape)), offset: source.normsWhole === true ? 0 : offset })
    plan.bytes = end
    files.set(file, plan)
    tensors[name] = entry
  }
  const blocks = blocksOf(config, blockExperts)
  for (const { layer, firstExpert, experts, file } of blocks) {
    const layout = expertLayout(config, quant, experts, file, firstExpert)
    files.set(file, {
      file,
      bytes: layout.bytes,
      parts: layout.experts.flatMap(entry => {
        const { gateUp, down } = architecture.expertSources(config, layer, entry.expert)
        const rows = (sources: SourceTensor[]): RowRange[] => sources.map(tensor => expertRows(prefix, tensor, entry.expert))
        return [{ entry: entry.gateUp, sources: rows(gateUp), offset: 0 }, { entry: entry.down, sources: rows(down), offset: 0 }]
      })
    })
  }
  return { files: [...files.values()], tensors, blocks }
}

/** The tensors that the experts of a layer are made of, each once. */
export function expertTensors (architecture: Architecture, config: ModelConfig, layer: number): SourceTensor[] {
  const all = Array.from({ length: config.experts }, (_, expert) => architecture.expertSources(config, layer, expert))
  // A tensor that holds all experts is a source of each.
  return [...new Map(all.flatMap(({ gateUp, down }) => [...gateUp, ...down]).map(tensor => [tensor.name, tensor])).values()]
}

/**
 * The format that suits a checkpoint: q4 where its experts are in it already and need no second rounding, or where blocks of 64 do not divide its sizes;
 * else u4, which has the error of q4 in fewer bytes of memory. Throws ModelError 'missing-tensor' for a checkpoint without layers.
 */
export function defaultQuant (source: TensorReader, architecture: Architecture, config: ModelConfig, drafter?: DrafterConfig): WeightFormat {
  const prefix = choosePrefix(source, architecture)
  const carries = ({ name }: SourceTensor): boolean => dtypeOf(source.tensors.get(prefix + name)?.dtype ?? '')?.carry?.format === 'q4'
  return expertTensors(architecture, config, 0).some(carries) || undivided(config, 'u4', drafter) != null ? 'q4' : 'u4'
}

/** Blocks lie along the inputs of a matrix, so every input size must be a multiple of theirs. */
function requireQuantizable (config: ModelConfig, quant: WeightFormat, drafter?: DrafterConfig): void {
  if (!isQuantized(quant)) return
  const found = undivided(config, quant, drafter)
  if (found == null) return
  const other = quant === 'u4' && undivided(config, 'q4', drafter) == null ? 'q4 or q8' : 'f16'
  throw new ModelError('unsupported', `The ${found.what} of ${found.size} is not a multiple of ${QUANT_BLOCKS[quant]}, as ${quant} needs it; convert with --quant ${other}.`, { size: found.size, quant })
}

/** An input size that the format's blocks do not divide. */
function undivided (config: ModelConfig, quant: QuantFormat, drafter?: DrafterConfig): { what: string, size: number } | undefined {
  const { sliding, full } = config.attention
  const inputs: Record<string, number> = {
    'hidden size': config.hiddenSize,
    'dense intermediate size': config.denseIntermediateSize,
    'expert intermediate size': config.expertIntermediateSize,
    'attention width of sliding layers': sliding.heads * sliding.headDim,
    'attention width of full layers': full.heads * full.headDim,
    ...drafter != null && { "drafter's hidden size": drafter.hiddenSize, "drafter's intermediate size": drafter.intermediateSize }
  }
  const found = Object.entries(inputs).find(([, size]) => size % QUANT_BLOCKS[quant] !== 0)
  return found && { what: found[0], size: found[1] }
}

function choosePrefix (source: TensorReader, { prefixes, modelTypes }: Architecture): string {
  const names = [...source.tensors.keys()]
  const prefix = prefixes.find(candidate => names.some(name => name.startsWith(`${candidate}layers.`)))
  if (prefix == null) {
    throw new ModelError('missing-tensor', `${source.location} holds no layers of a ${modelTypes[0]} text model (no tensor starts with ${prefixes.map(name => `${name}layers.`).join(' or ')}); give the checkpoint that its config.json describes.`)
  }
  return prefix
}

/** Throws as planConversion when a drafter's checkpoint has not the tensors of its config, or others. */
export function requireDrafterTensors (source: TensorReader, form: DrafterForm, config: ModelConfig, drafter: DrafterConfig): void {
  requireTensors(source, '', form, form.tensors(config, drafter, 'f32').flatMap(plan => plan.sources))
}

function requireTensors (source: TensorReader, prefix: string, { isIgnored }: Pick<Architecture, 'isIgnored'>, required: SourceTensor[]): void {
  const missing = required.filter(({ name }) => !source.tensors.has(prefix + name)).map(({ name }) => prefix + name)
  if (missing.length > 0) {
    throw new ModelError('missing-tensor', `${source.location} lacks ${missing.length} tensor${missing.length > 1 ? 's' : ''} that its config.json calls for: ${missing.join(', ')}; download it completely.`,
      { names: missing })
  }
  for (const { name, shape } of required) {
    const found = source.tensors.get(prefix + name)?.shape ?? []
    if (found.length !== shape.length || found.some((size, axis) => size !== shape[axis])) {
      throw new ModelError('wrong-shape', `Tensor ${prefix}${name} has shape [${found.join(', ')}] where config.json calls for [${shape.join(', ')}]; config and weights are not of one model.`,
        { name: prefix + name, found, expected: shape })
    }
  }
  // A bias or adapter that we would silently leave out gives a model that runs and is wrong.
  const known = new Set(required.map(({ name }) => prefix + name))
  const left = [...source.tensors.keys()].filter(name => name.startsWith(prefix) && !known.has(name) && !isIgnored(name.slice(prefix.length)))
  if (left.length > 0) {
    throw new ModelError('unsupported', `${source.location} holds tensors that this version does not use, so the result would be wrong: ${left.slice(0, 10).join(', ')}${left.length > 10 ? ` and ${left.length - 10} more` : ''}.`,
      { names: left })
  }
}

function wholeTensor (name: string, shape: number[]): RowRange {
  const [rows, columns] = shape.length === 1 ? [1, shape[0]] : shape
  return { name, firstRow: 0, rows, columns }
}

function expertRows (prefix: string, { name, shape }: SourceTensor, expert: number): RowRange {
  const [rows, columns] = shape.slice(-2)
  return { name: prefix + name, firstRow: shape.length === 3 ? expert * rows : 0, rows, columns }
}
