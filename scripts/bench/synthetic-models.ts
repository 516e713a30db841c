import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Bundle, ModelError, synthesize, type SynthesisFormat, type SynthesisProgress, WEIGHT_FORMATS, type WeightFormat } from '../../model-tools/index.js'
import { CACHE_DIR } from './cache.js'

/** The model whose shape is measured. */
export const SHAPE = 'gemma-4-26b-a4b'
export const SHAPE_LAYERS = 30
/** What `moeswarm convert` would choose for it. */
export const BUNDLE_QUANT: WeightFormat = 'u4'

export interface SynthesisHooks {
  onNote: (text: string) => void
  onProgress: (progress: SynthesisProgress) => void
  signal?: AbortSignal
}

/** The bundle with so many layers, made on first use. */
export async function syntheticBundle (layers: number, hooks: SynthesisHooks, quant = BUNDLE_QUANT): Promise<Bundle> {
  const dir = modelDir('bundle', layers, quant)
  try {
    return await Bundle.open(dir)
  } catch (error) {
    if (!(error instanceof ModelError)) throw error
    // Not there yet, or of an older version of the format.
    await rm(dir, { recursive: true, force: true })
  }
  await make('bundle', layers, hooks, quant)
  return await Bundle.open(dir)
}

/** Path of the GGUF file with so many layers, made on first use. */
export async function syntheticGguf (layers: number, hooks: SynthesisHooks): Promise<string> {
  const dir = modelDir('gguf', layers)
  const found = (await readdir(dir).catch(() => [])).find(name => name.endsWith('.gguf'))
  if (found !== undefined) return join(dir, found)
  await rm(dir, { recursive: true, force: true })
  return await make('gguf', layers, hooks)
}

/** Takes the models with so many layers away again. */
export async function removeSynthetic (layers: number): Promise<void> {
  await Promise.all([...WEIGHT_FORMATS.map(async quant => { await rm(modelDir('bundle', layers, quant), { recursive: true, force: true }) }), rm(modelDir('gguf', layers), { recursive: true, force: true })])
}

function modelDir (format: SynthesisFormat, layers: number, quant?: WeightFormat): string {
  return join(CACHE_DIR, 'bench', `${SHAPE}-${layers}-${quant ?? format}`)
}

/** Throws ModelError 'no-space' before it begins where the disk is too small. */
async function make (format: SynthesisFormat, layers: number, { onNote, onProgress, signal }: SynthesisHooks, quant?: WeightFormat): Promise<string> {
  const out = modelDir(format, layers, quant)
  onNote(`Synthesising ${SHAPE} with ${layers} layers as ${format} in ${out}, once ...`)
  return (await synthesize({ shape: SHAPE, layers, format, quant, out, seed: 1, signal, onProgress })).path
}
