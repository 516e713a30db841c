import { mkdir, readdir, rm, rmdir, statfs } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { SourceTensor } from '../architectures/architecture.js'
import { ggufQueryScalar } from '../architectures/gemma3-gguf.js'
import { writeAtomically } from '../bundle/atomic-file.js'
import type { FileDigest } from '../bundle/file-hash.js'
import { canonicalJson } from '../bundle/canonical-json.js'
import { DEFAULT_BLOCK_EXPERTS } from '../bundle/conversion.js'
import { defaultQuant, planConversion } from '../bundle/conversion-plan.js'
import { isDiskFull } from '../bundle/disk-space.js'
import { joinDrafter } from '../checkpoint/joined.js'
import type { BundleManifest, ModelConfig, WeightFormat } from '../bundle/manifest.js'
import { MANIFEST_FILE } from '../bundle/reader.js'
import { writeWeights } from '../bundle/weights.js'
import { ModelError } from '../errors.js'
import { formatBytes } from '../format-bytes.js'
import { gemma3Metadata, gemma4Metadata, ropeFrequencies, vocabularyMetadata } from './gguf-metadata.js'
import { ggufBytes, writeGguf } from './gguf-writer.js'
import { safetensorsBytes, writeSafetensors } from './safetensors-writer.js'
import { shapeOf } from './shapes.js'
import { syntheticDrafter } from './drafter.js'
import { SyntheticSource } from './source.js'
import { streamed, type StreamedTensor, type WriteHooks } from './stream.js'
import type { DtypeChoice } from './tensors.js'
import { syntheticVocabulary } from './vocabulary.js'

export const SYNTHESIS_FORMATS = ['safetensors', 'gguf', 'bundle'] as const
export type SynthesisFormat = typeof SYNTHESIS_FORMATS[number]

export interface SynthesisProgress {
  doneBytes: number
  totalBytes: number
  file: string
}

export interface SynthesisOptions {
  /** One of SHAPE_NAMES. */
  shape: string
  /** Layers of the same width; the last one is a full one. @default those of the shape */
  layers?: number
  /** A checkpoint as it is published, in BF16; a GGUF file as llama.cpp quantises it to Q4_0; or a bundle at once. */
  format: SynthesisFormat
  /** Of a bundle. @default 'u4', or 'q4' where its blocks do not divide the shape */
  quant?: WeightFormat
  /** Experts a block of a bundle. @default 16, or all if there are fewer */
  blockExperts?: number
  /** Whether a bundle has a drafter, of the shape that goes with the model's. @default false */
  drafter?: boolean
  /** Directory to create, or an empty one. */
  out: string
  /** @default 0 */
  seed?: number
  signal?: AbortSignal
  onProgress?: (progress: SynthesisProgress) => void
}

export interface Synthesis {
  /** What to open: the directory, or the GGUF file in it. */
  path: string
  bytes: number
}

/** What is to be written, and how. `write` calls `onFile` with the name of every file before it makes it. */
interface Work {
  bytes: number
  path: string
  write: (hooks: WriteHooks, onFile: (file: string) => void) => Promise<void>
}

/** Of the bundle's quantised formats; the tokens' embedding is never below 8 bits. */
const BUNDLE_DTYPES: Record<WeightFormat, { matrices: string, embedding: string }> = {
  f32: { matrices: 'F32', embedding: 'F32' }, f16: { matrices: 'F16', embedding: 'F16' }, q8: { matrices: 'Q8_0', embedding: 'Q8_0' }, q4: { matrices: 'Q4_0', embedding: 'Q8_0' },
  u4: { matrices: 'BF16', embedding: 'Q8_0' }
}

/** Files of a bundle in hand at once: while one reaches the disk, the other is made. */
const LANES = 2

const SIDE_FILES = ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja']
const TEXT_FILES = SIDE_FILES.slice(2)

/**
 * Writes a model of a published shape with random weights, for tests and benchmarks at full size without a download. Tensor names, shapes, dtypes and
 * files are those of the release's text model; activations stay finite over any number of layers and the router spreads tokens over the experts. Needs
 * memory for some million values and the vocabulary. When it is broken off, what it has written is removed; a killed process leaves nothing that loads.
 *
 * Rejects with ModelError 'unsupported' for an unknown shape, 'not-found' when `out` is taken, 'no-space' saying how much is missing, or with the signal's reason.
 */
export async function synthesize (options: SynthesisOptions): Promise<Synthesis> {
  const { out, signal, onProgress } = options
  signal?.throwIfAborted()
  const { bytes, path, write } = plan(options)
  const made = await mkdir(out, { recursive: true }).catch((cause: unknown) => {
    throw new ModelError('not-found', `${out} cannot be made a directory; give another one with --out.`, { path: out }, { cause })
  })
  if ((await readdir(out)).length > 0) throw new ModelError('not-found', `${resolve(out)} is not empty; give another directory with --out.`, { path: out })
  const files: string[] = []
  let doneBytes = 0
  try {
    await requireRoom(out, bytes)
    await write({
      signal,
      onBytes: written => {
        doneBytes += written
        onProgress?.({ doneBytes, totalBytes: bytes, file: files.at(-1) ?? '' })
      }
    }, file => { files.push(file) })
    return { path, bytes }
  } catch (error) {
    // `out` was empty, so all that is in it is ours.
    for (const name of await readdir(out)) await rm(join(out, name), { recursive: true, force: true })
    if (!isDiskFull(error)) throw error
    throw new ModelError('no-space', `The disk of ${resolve(out)} filled up after ${formatBytes(doneBytes)} of ${formatBytes(bytes)}, though there was room at the start: something else writes to it; make room and run this again.`,
      { path: out, needed: bytes, missing: bytes - doneBytes }, { cause: error })
  } finally {
    // Takes away a directory only while it is empty: that of a model stays.
    if (made != null) await rmdir(out).catch(() => { /* the model is in it */ })
  }
}

/** Beside the weights: the vocabulary's files, the index or manifest, and what the file system needs for itself. */
const RESERVE_BYTES = 64 * 1024 * 1024

async function requireRoom (dir: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dir)
  const [needed, free] = [bytes + RESERVE_BYTES, bavail * bsize]
  if (needed <= free) return
  throw new ModelError('no-space', `${formatBytes(needed)} are to be written to ${resolve(dir)}, where ${formatBytes(free)} are free: ${formatBytes(needed - free)} are missing; make room, give another directory with --out, or fewer --layers.`,
    { path: dir, needed, free, missing: needed - free })
}

function plan (options: SynthesisOptions): Work {
  switch (options.format) {
    case 'safetensors': return planSafetensors(options)
    case 'gguf': return planGguf(options)
    case 'bundle': return planBundle(options)
    default: return options.format satisfies never
  }
}

function planSafetensors (options: SynthesisOptions): Work {
  const source = new SyntheticSource(options, () => 'BF16')
  const tensors = streamedAll(source)
  const { shards } = shapeOf(options.shape)
  return {
    bytes: safetensorsBytes(tensors, shards),
    path: options.out,
    write: async (hooks, onFile) => {
      await writeSideFiles(source, options.out, SIDE_FILES)
      await writeSafetensors(options.out, tensors, shards, hooks, onFile)
    }
  }
}

/** As llama.cpp quantises to Q4_0: the embedding, which is the head, to Q6_K; vectors and the router stay as they are. */
function planGguf (options: SynthesisOptions): Work {
  const source = new SyntheticSource(options, dtypesOf({ matrices: 'Q4_0', embedding: ggufEmbedding(options) }), undefined, { normsWhole: true })
  const { gguf, prefixes } = source.architecture
  if (gguf == null || !hasGgufScale(source.config)) throw new ModelError('unsupported', `There is no GGUF form of ${options.shape} here; write it as safetensors or as a bundle.`, { shape: options.shape })
  const names = new Map(Object.entries(gguf.tensors).map(([name, own]) => [own, name]))
  const tensors = [...source.tensors.values()].map(tensor => {
    const own = tensor.name.slice(prefixes[0].length)
    const layer = /^layers\.(\d+)\./.exec(own)?.[1] ?? ''
    const name = names.get(own.replace(/^layers\.\d+\./, 'layers.N.')) ?? own
    return streamed(source, tensor, name.replace('blk.N.', `blk.${layer}.`))
  })
  const vocabulary = syntheticVocabulary(source.config.vocabSize, shapeOf(options.shape).dialect)
  const isGemma3 = source.config.architecture === 'gemma3'
  const all = isGemma3 ? tensors : [...tensors, ropeFrequencies(source.config)]
  const metadata = isGemma3
    ? { ...gemma3Metadata(source.config, source.location), ...vocabularyMetadata(vocabulary, 'llama') }
    : { ...gemma4Metadata(source.config, source.location), ...vocabularyMetadata(vocabulary) }
  const file = `${options.shape}-Q4_0.gguf`
  return {
    bytes: ggufBytes(metadata, all),
    path: join(options.out, file),
    write: async (hooks, onFile) => {
      onFile(file)
      await writeGguf(join(options.out, file), metadata, all, hooks)
    }
  }
}

/** A file of Gemma 3 does not say how queries are scaled: llama.cpp goes by the number of layers. */
function hasGgufScale ({ architecture, layerTypes, hiddenSize, attention: { full } }: ModelConfig): boolean {
  if (architecture !== 'gemma3') return true
  return Math.fround(ggufQueryScalar({ layers: layerTypes.length, hiddenSize, heads: full.heads, headDim: full.headDim }) ** -0.5) === (full.queryScale ?? 1)
}

function defaultQuantOf ({ shape, layers }: SynthesisOptions): WeightFormat {
  const source = new SyntheticSource({ shape, layers }, () => 'F32')
  return defaultQuant(source, source.architecture, source.config)
}

/** Q6_K has blocks of 256; where they do not divide the hidden size, llama.cpp takes Q8_0. */
function ggufEmbedding ({ shape, layers }: SynthesisOptions): string {
  return new SyntheticSource({ shape, layers }, () => 'F32').config.hiddenSize % 256 === 0 ? 'Q6_K' : 'Q8_0'
}

function planBundle (options: SynthesisOptions): Work {
  const { out, signal } = options
  const quant = options.quant ?? defaultQuantOf(options)
  const dtypes = dtypesOf(BUNDLE_DTYPES[quant])
  const source = new SyntheticSource(options, dtypes, signal)
  const { config } = source
  const drafter = options.drafter === true ? syntheticDrafter(options.shape, shapeOf(options.shape).drafter, source.architecture, config, dtypes, options.seed) : undefined
  const tensorSource = drafter == null ? source : joinDrafter(source, drafter.tensors)
  const blockExperts = options.blockExperts ?? Math.min(DEFAULT_BLOCK_EXPERTS, config.experts)
  if (blockExperts > config.experts) throw new ModelError('out-of-range', `A block of ${blockExperts} experts is impossible: the model has ${config.experts} a layer.`, { blockExperts, experts: config.experts })
  const { files, tensors, blocks } = planConversion(tensorSource, source.architecture, config, quant, blockExperts, drafter?.config)
  return {
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    path: out,
    write: async ({ onBytes }, onFile) => {
      const digests: Record<string, FileDigest> = await writeSideFiles(source, join(out, 'text'), TEXT_FILES, 'text/')
      const queue = [...files]
      const lane = async (): Promise<void> => {
        for (let file = queue.shift(); file != null; file = queue.shift()) {
          const { file: name } = file
          const weights = file
          onFile(name)
          digests[name] = await writeAtomically(join(out, name), async sink => writeWeights(tensorSource, weights, sink, bytes => { onBytes?.(bytes) }))
        }
      }
      // All have ended when this goes on, so that nobody writes behind the back of whoever clears up.
      const ends = await Promise.allSettled(Array.from({ length: LANES }, lane))
      const failed = ends.find(end => end.status === 'rejected')
      if (failed != null) throw failed.reason
      const manifest: BundleManifest = { format: 'moeswarm-bundle/1', config, drafter: drafter?.config, quant, blockExperts, files: digests, tensors, blocks }
      await writeAtomically(join(out, MANIFEST_FILE), async sink => sink.write(new TextEncoder().encode(canonicalJson(manifest))))
    }
  }
}

function dtypesOf ({ matrices, embedding }: { matrices: string, embedding: string }): DtypeChoice {
  return ({ name, shape }: SourceTensor) => {
    if (shape.length === 1 || name.endsWith('router.proj.weight')) return 'F32'
    return name === 'embed_tokens.weight' ? embedding : matrices
  }
}

function streamedAll (source: SyntheticSource): StreamedTensor[] {
  return [...source.tensors.values()].map(tensor => streamed(source, tensor))
}

async function writeSideFiles (source: SyntheticSource, dir: string, names: string[], prefix = ''): Promise<Record<string, FileDigest>> {
  const digests: Record<string, FileDigest> = {}
  for (const name of names) {
    const bytes = await source.sideFile(name)
    if (bytes != null) digests[prefix + name] = await writeAtomically(join(dir, name), async sink => sink.write(bytes))
  }
  return digests
}
