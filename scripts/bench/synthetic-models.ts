import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Bundle, ModelError, synthesize, type SynthesisFormat, type SynthesisProgress } from '../../model-tools/index.js'
import { CACHE_DIR } from './cache.js'

/** The model whose shape is measured. */
export const SHAPE = 'gemma-4-26b-a4b'
export const SHAPE_LAYERS = 30

export interface SynthesisHooks {
  onNote: (text: string) => void
  onProgress: (progress: SynthesisProgress) => void
  signal?: AbortSignal
}

/** The q4 bundle with so many layers, made on first use. */
export async function syntheticBundle (layers: number, hooks: SynthesisHooks): Promise<Bundle> {
  const dir = modelDir('bundle', layers)
  try {
    return await Bundle.open(dir)
  } catch (error) {
    if (!(error instanceof ModelError)) throw error
    // Not there yet, or of an older version of the format.
    await rm(dir, { recursive: true, force: true })
  }
  await make('bundle', layers, hooks)
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
  await Promise.all([rm(modelDir('bundle', layers), { recursive: true, force: true }), rm(modelDir('gguf', layers), { recursive: true, force: true })])
}

function modelDir (format: SynthesisFormat, layers: number): string {
  return join(CACHE_DIR, 'bench', `${SHAPE}-${layers}-${format}`)
}

/** Throws ModelError 'no-space' before it begins where the disk is too small. */
async function make (format: SynthesisFormat, layers: number, { onNote, onProgress, signal }: SynthesisHooks): Promise<string> {
  const out = modelDir(format, layers)
  onNote(`Synthesising ${SHAPE} with ${layers} layers as ${format} in ${out}, once ...`)
  return (await synthesize({ shape: SHAPE, layers, format, quant: format === 'bundle' ? 'q4' : undefined, out, seed: 1, signal, onProgress })).path
}
