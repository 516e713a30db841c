import { TENSOR_ALIGNMENT, type BlockEntry, type ModelConfig, type TensorEntry, type WeightFormat } from './manifest.js'
import { dataBytes, scaleBytes, zeroBytes } from '../quantize/rows.js'

/** Where the two matrices of one expert lie. */
export interface ExpertEntry {
  expert: number
  /** `[2 * intermediate, hidden]`: gate rows, then up rows. */
  gateUp: TensorEntry
  /** [hidden, intermediate] */
  down: TensorEntry
}

export function align (offset: number): number {
  return Math.ceil(offset / TENSOR_ALIGNMENT) * TENSOR_ALIGNMENT
}

/** Places a tensor at the first aligned byte from `offset` on: data, then, each aligned again, scales and zeros. `end` is the byte behind it. */
export function placeTensor (file: string, format: WeightFormat, shape: number[], offset: number): { entry: TensorEntry, end: number } {
  const values = shape.reduce((product, size) => product * size, 1)
  const bytes = dataBytes(format, values)
  const entry: TensorEntry = { file, format, shape, offset: align(offset), bytes }
  let end = entry.offset + bytes
  for (const [part, partBytes] of [['scales', scaleBytes(format, values)], ['zeros', zeroBytes(format, shape)]] as const) {
    if (partBytes === 0) continue
    entry[part] = { offset: align(end), bytes: partBytes }
    end = align(end) + partBytes
  }
  return { entry, end }
}

/**
 * The layout of a block file with `experts` experts from `firstExpert` on: per expert, in ascending order, gate_up then down.
 * Reader and writer both take it from here, so a manifest does not have to list thousands of offsets.
 */
export function expertLayout (config: Pick<ModelConfig, 'hiddenSize' | 'expertIntermediateSize'>, quant: WeightFormat, experts: number, file = '', firstExpert = 0): { experts: ExpertEntry[], bytes: number } {
  const { hiddenSize, expertIntermediateSize } = config
  let end = 0
  const entries = Array.from({ length: experts }, (_, index): ExpertEntry => {
    const gateUp = placeTensor(file, quant, [2 * expertIntermediateSize, hiddenSize], end)
    const down = placeTensor(file, quant, [hiddenSize, expertIntermediateSize], gateUp.end)
    end = down.end
    return { expert: firstExpert + index, gateUp: gateUp.entry, down: down.entry }
  })
  return { experts: entries, bytes: end }
}

/** The blocks of a model: each layer's experts in runs of `blockExperts`, the last of which may be shorter. */
export function blocksOf (config: ModelConfig, blockExperts: number): BlockEntry[] {
  return config.layerTypes.flatMap((_, layer) =>
    Array.from({ length: Math.ceil(config.experts / blockExperts) }, (_, index) => {
      const firstExpert = index * blockExperts
      const experts = Math.min(blockExperts, config.experts - firstExpert)
      return { layer, firstExpert, experts, file: blockFile(layer, firstExpert, experts) }
    }))
}

function blockFile (layer: number, firstExpert: number, experts: number): string {
  const last = firstExpert + experts - 1
  return `experts/layer-${String(layer).padStart(2, '0')}/${expertNumber(firstExpert)}-${expertNumber(last)}.bin`
}

function expertNumber (expert: number): string {
  return String(expert).padStart(3, '0')
}
