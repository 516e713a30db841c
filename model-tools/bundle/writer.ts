import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { architectureOfCheckpoint } from '../architectures/index.js'
import { openCheckpoint } from '../checkpoint/open.js'
import type { CheckpointSource } from '../checkpoint/source.js'
import { ModelError } from '../errors.js'
import { parseJson } from '../fields.js'
import { DigestSink, writeAtomically, type FileDigest } from './atomic-file.js'
import { canonicalJson } from './canonical-json.js'
import { planConversion, type ConversionPlan } from './conversion-plan.js'
import { digestFile } from './digest.js'
import { ConversionJournal, JOURNAL_FILE } from './journal.js'
import type { BundleManifest, ModelConfig, WeightFormat } from './manifest.js'
import { Bundle, MANIFEST_FILE } from './reader.js'
import { writeWeights } from './weights.js'

export interface ConversionProgress {
  /** Of the bundle; files of an earlier, broken-off run count at once. */
  doneBytes: number
  totalBytes: number
  file: string
}

export interface ConversionOptions {
  /** Directory with config.json, safetensors weights and tokenizer.json. */
  checkpoint: string
  /** Directory to create. May hold a broken-off conversion, which is then continued. */
  out: string
  /** @default 'q4' */
  quant?: WeightFormat
  /** Experts a block, the unit of hosting: small ones spread better, large ones cost fewer requests. @default 16, or all if there are fewer */
  blockExperts?: number
  signal?: AbortSignal
  onProgress?: (progress: ConversionProgress) => void
}

export const DEFAULT_QUANT: WeightFormat = 'q4'
export const DEFAULT_BLOCK_EXPERTS = 16

/** Text files that are carried over where the checkpoint has them. The first is required. */
const TEXT_FILES = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja', 'special_tokens_map.json']

/** One file to make: how many bytes it will have, and how they come about. */
interface Output {
  file: string
  bytes: number
  fill: (sink: DigestSink, onBytes: (bytes: number) => void) => Promise<void>
}

interface Conversion {
  source: CheckpointSource
  config: ModelConfig
  quant: WeightFormat
  blockExperts: number
  plan: ConversionPlan
  outputs: Output[]
  fingerprint: string
}

/**
 * Converts a checkpoint into a model bundle. Needs memory for some 4 million values, whatever the model's size. Every file
 * appears whole or not at all and the manifest last, so a conversion that broke off leaves nothing that loads; called again with the
 * same settings it keeps the files that are done. Equal checkpoints and settings give equal bytes. A directory that already holds
 * this very bundle is left as it is.
 *
 * Rejects with a ModelError that names the file, key or tensor, or with the signal's reason.
 */
export async function convertCheckpoint (options: ConversionOptions): Promise<Bundle> {
  const source = await openCheckpoint(options.checkpoint)
  try {
    return await convert(await prepare(source, options), options)
  } finally {
    await source.close()
  }
}

async function prepare (source: CheckpointSource, { checkpoint, quant = DEFAULT_QUANT, blockExperts: wantedExperts, signal }: ConversionOptions): Promise<Conversion> {
  const rawConfig = await readJson(join(checkpoint, 'config.json'))
  if (rawConfig === undefined) throw new ModelError('not-found', `${checkpoint} holds no config.json; give the directory of a complete checkpoint.`, { path: checkpoint })
  const architecture = architectureOfCheckpoint(rawConfig)
  const config = architecture.parseConfig(rawConfig, await readJson(join(checkpoint, 'generation_config.json')))
  const blockExperts = wantedExperts ?? Math.min(DEFAULT_BLOCK_EXPERTS, config.experts)
  if (!Number.isInteger(blockExperts) || blockExperts < 1 || blockExperts > config.experts) {
    throw new ModelError('out-of-range', `A block of ${blockExperts} experts is impossible: the model has ${config.experts} a layer.`, { blockExperts, experts: config.experts })
  }
  const plan = planConversion(source, architecture, config, quant, blockExperts)
  const text = await textOutputs(checkpoint, signal)
  const weights = plan.files.map((file): Output => ({
    file: file.file,
    bytes: file.bytes,
    fill: async (sink, onBytes) => writeWeights(source, file, sink, onBytes, signal)
  }))
  const fingerprint = createHash('sha256')
    .update(canonicalJson({ weights: source.fingerprint, config, quant, blockExperts, text: text.map(({ file, digest }) => [file, digest]) })).digest('hex')
  return { source, config, quant, blockExperts, plan, outputs: [...text, ...weights], fingerprint }
}

async function convert (conversion: Conversion, { out, signal, onProgress }: ConversionOptions): Promise<Bundle> {
  signal?.throwIfAborted()
  const { config, quant, blockExperts, plan, outputs, fingerprint } = conversion
  const { finished, promised } = await finishedFiles(out, conversion, signal)
  const totalBytes = outputs.reduce((sum, { bytes }) => sum + bytes, 0)
  let doneBytes = 0
  const advance = (bytes: number, file: string): void => {
    doneBytes += bytes
    onProgress?.({ doneBytes, totalBytes, file })
  }
  for (const { file, bytes } of outputs) if (finished.has(file)) advance(bytes, file)
  const pending = outputs.filter(({ file }) => !finished.has(file))
  if (pending.length > 0) {
    // Before the first file: a directory with files and no journal would be taken for somebody else's.
    const journal = await ConversionJournal.create(out, fingerprint, finished)
    for (const { file, fill } of pending) {
      signal?.throwIfAborted()
      const digest = await writeAtomically(join(out, file), async sink => fill(sink, bytes => advance(bytes, file)), ({ sha256 }) => {
        if (promised != null && promised[file].sha256 !== sha256) throw otherBundle(out, file)
      })
      finished.set(file, digest)
      await journal.add(file, digest)
    }
  }
  const manifest: BundleManifest = {
    format: 'moeswarm-bundle/1', config, quant, blockExperts, files: Object.fromEntries(finished), tensors: plan.tensors, blocks: plan.blocks
  }
  await writeManifest(out, manifest)
  await rm(join(out, JOURNAL_FILE), { force: true })
  return Bundle.open(out)
}

async function writeManifest (out: string, manifest: BundleManifest): Promise<void> {
  const bytes = new TextEncoder().encode(canonicalJson(manifest))
  const existing = await readFile(join(out, MANIFEST_FILE)).catch(() => undefined)
  if (existing?.equals(bytes) === true) return
  await writeAtomically(join(out, MANIFEST_FILE), async sink => sink.write(bytes))
}

interface Finished {
  /** Files that need not be made again. */
  finished: Map<string, FileDigest>
  /** Of a bundle that is there already: what files that are made again must be. */
  promised?: BundleManifest['files']
}

/** Looks what `out` holds. Throws when that is anything which this conversion would destroy. */
async function finishedFiles (out: string, conversion: Conversion, signal?: AbortSignal): Promise<Finished> {
  const found = await stat(out).catch(() => undefined)
  if (found != null && !found.isDirectory()) throw new ModelError('not-found', `${out} is a file; give a directory for the bundle with --out.`, { path: out })
  const names = found == null ? [] : await readdir(out)
  if (names.includes(MANIFEST_FILE)) return filesOfSameBundle(out, conversion)
  const journal = await ConversionJournal.read(out, conversion.fingerprint)
  if (journal == null) {
    if (names.length > 0) throw new ModelError('not-found', `${resolve(out)} is not empty and holds no bundle; give another directory with --out.`, { path: out })
    return { finished: new Map() }
  }
  if (journal.stale) {
    // Of a conversion with other settings: its files are ours, and none of them fits.
    for (const name of ['client', 'experts', 'text', JOURNAL_FILE]) await rm(join(out, name), { recursive: true, force: true })
    return { finished: new Map() }
  }
  const planned = new Map(conversion.outputs.map(({ file, bytes }) => [file, bytes]))
  const finished = new Map<string, FileDigest>()
  for (const [file, digest] of journal.finished) {
    const size = (await stat(join(out, file)).catch(() => undefined))?.size
    if (size == null || size !== digest.bytes || size !== planned.get(file)) continue
    const { sha256 } = await digestFile(join(out, file), { signal })
    if (sha256 === digest.sha256) finished.set(file, digest)
  }
  return { finished }
}

/**
 * `out` holds a bundle. It is this one when settings, text files and, as samples of the weights, the attention of the first layer and the
 * final norm are equal; any further training changes those. Files that it lacks are made again.
 */
async function filesOfSameBundle (out: string, { config, quant, blockExperts, outputs }: Conversion): Promise<Finished> {
  const { manifest } = await Bundle.open(out)
  const differs = (what: string): ModelError => otherBundle(out, what)
  if (canonicalJson(manifest.config) !== canonicalJson(config)) throw differs('its model')
  if (manifest.quant !== quant) throw differs(`quant, which is ${manifest.quant}`)
  if (manifest.blockExperts !== blockExperts) throw differs(`experts a block, which are ${manifest.blockExperts}`)
  if (canonicalJson(Object.keys(manifest.files).sort()) !== canonicalJson(outputs.map(({ file }) => file).sort())) throw differs('its files')
  for (const output of outputs) {
    if (!output.file.startsWith('text/') && !SAMPLED_FILES.includes(output.file)) continue
    const sink = new DigestSink()
    await output.fill(sink, () => { /* sampling is no progress */ })
    if (sink.digest().sha256 !== manifest.files[output.file].sha256) throw differs(output.file)
  }
  const finished = new Map<string, FileDigest>()
  for (const [file, digest] of Object.entries(manifest.files)) {
    if (await stat(join(out, file)).catch(() => undefined) != null) finished.set(file, digest)
  }
  return { finished, promised: manifest.files }
}

function otherBundle (out: string, what: string): ModelError {
  return new ModelError('not-found', `${resolve(out)} already holds another bundle (it differs in ${what}); delete it or give another directory with --out.`, { path: out, what })
}

const SAMPLED_FILES = ['client/layer-00.bin', 'client/final.bin']

async function textOutputs (checkpoint: string, signal?: AbortSignal): Promise<Array<Output & { digest: string }>> {
  const outputs: Array<Output & { digest: string }> = []
  for (const name of TEXT_FILES) {
    const path = join(checkpoint, name)
    const found = await stat(path).catch(() => undefined)
    if (found?.isFile() !== true) {
      if (name === TEXT_FILES[0]) throw new ModelError('not-found', `${checkpoint} holds no ${name}; download it from the checkpoint's repository.`, { path })
      continue
    }
    const { sha256, bytes } = await digestFile(path, { signal })
    outputs.push({
      file: `text/${name}`,
      bytes,
      digest: sha256,
      fill: async (sink, onBytes) => {
        for await (const piece of createReadStream(path) as AsyncIterable<Buffer>) {
          await sink.write(piece)
          onBytes(piece.length)
        }
      }
    })
  }
  return outputs
}

async function readJson (path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch(() => undefined)
  return text == null ? undefined : parseJson(text, path)
}
