import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Architecture } from '../architectures/architecture.js'
import { architectureOfCheckpoint } from '../architectures/index.js'
import { joinDrafter } from '../checkpoint/joined.js'
import type { CheckpointSource } from '../checkpoint/source.js'
import { ModelError } from '../errors.js'
import { parseJson } from '../fields.js'
import { digestBytes, type FileDigest } from './file-hash.js'
import { canonicalJson } from './canonical-json.js'
import { defaultQuant, planConversion, requireDrafterTensors, type ConversionPlan, type FilePlan } from './conversion-plan.js'
import type { BundleManifest, DrafterConfig, ModelConfig, WeightFormat } from './manifest.js'
import { parseManifest } from './manifest-schema.js'
import { selectBlocks } from './ranges.js'

export const DEFAULT_BLOCK_EXPERTS = 16

const NO_LAYERS = 'none'

/** Text files that are carried over where the checkpoint has them. The first is required. */
const TEXT_FILES = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja', 'special_tokens_map.json']

/** What is to be made of a checkpoint. */
export interface ConversionSettings {
  /** @default that of `manifest`, else that of defaultQuant: 'u4', or 'q4' for a file of Q4_0 */
  quant?: WeightFormat
  /** Experts a block, the unit of hosting: small ones spread better, large ones cost fewer requests. @default that of `manifest`, else 16, or all if there are fewer */
  blockExperts?: number
  /** Layers whose experts are written, such as "0-3,7", or "none". @default all */
  layers?: string
  /** Experts that are written of these layers, whole blocks such as "0-15". @default all */
  experts?: string
  /** Whether the client part is written, which no host of experts needs. @default true */
  client?: boolean
  /** The checkpoint of the model's drafter, as `checkpoint`; it goes into the client part. @default none */
  drafter?: string
  /** Path of the manifest.json of the bundle that must come out. With it, a part is made from the tensors of that part alone. */
  manifest?: string
}

/** One file of the bundle: how many bytes it will have, and what they are made of. */
export type Output = {
  file: string
  bytes: number
  /** False for a file whose digest alone is wanted. */
  wanted: boolean
} & ({ plan: FilePlan } | { text: string })

/** A manifest that was there before the conversion. */
export interface Promised {
  manifest: BundleManifest
  /** Where it was found, for errors. */
  path: string
}

/** All that is decided before the first weight is read. */
export interface Conversion {
  source: CheckpointSource
  config: ModelConfig
  drafter?: DrafterConfig
  quant: WeightFormat
  blockExperts: number
  plan: ConversionPlan
  /** In the order in which they are made. */
  outputs: Output[]
  promised?: Promised
  /** Of weights, configuration and settings, but not of the part that is wanted: parts of one bundle go together. */
  fingerprint: string
}

/**
 * Reads configuration, text files and names of tensors, and plans.
 * Rejects as planConversion and selectBlocks throw, with ModelError 'not-found', 'malformed' or 'out-of-range' naming what is wrong, and
 * 'hash-mismatch' when the manifest given is of another bundle.
 */
export async function prepareConversion (model: CheckpointSource, settings: ConversionSettings, drafterModel?: CheckpointSource): Promise<Conversion> {
  const rawConfig = await readConfig(model)
  const promised = settings.manifest == null ? undefined : await readPromised(settings.manifest)
  const architecture = architectureOfCheckpoint(rawConfig)
  const config = architecture.parseConfig(rawConfig, await readJson(model, 'generation_config.json'))
  const drafter = drafterModel == null ? promisedDrafter(promised, settings) : await readDrafter(drafterModel, architecture, config)
  const source = drafterModel == null ? model : joinDrafter(model, drafterModel)
  const quant = settings.quant ?? promised?.manifest.quant ?? defaultQuant(source, architecture, config, drafter)
  const blockExperts = settings.blockExperts ?? promised?.manifest.blockExperts ?? Math.min(DEFAULT_BLOCK_EXPERTS, config.experts)
  if (!Number.isInteger(blockExperts) || blockExperts < 1 || blockExperts > config.experts) {
    throw new ModelError('out-of-range', `A block of ${blockExperts} experts is impossible: the model has ${config.experts} a layer.`, { blockExperts, experts: config.experts })
  }
  const plan = planConversion(source, architecture, config, quant, blockExperts, drafter)
  if (promised != null) requirePromised(source, promised, { config, drafter, quant, blockExperts, plan })
  const blocks = new Set(plan.blocks.map(({ file }) => file))
  const selected = settings.layers === NO_LAYERS ? [] : selectBlocks({ config, blocks: plan.blocks }, settings.layers, settings.experts)
  const wantedBlocks = new Set(selected.map(({ file }) => file))
  const wantsClient = settings.client ?? true
  const texts = promised == null ? await readTexts(source) : textsOf(promised.manifest)
  const outputs: Output[] = [
    ...[...texts].map(([text, { bytes }]) => ({ file: `text/${text}`, bytes, wanted: wantsClient, text })),
    ...plan.files.map(file => ({ file: file.file, bytes: file.bytes, wanted: blocks.has(file.file) ? wantedBlocks.has(file.file) : wantsClient, plan: file }))
  ]
  const fingerprint = createHash('sha256')
    .update(canonicalJson({ weights: source.fingerprint, config, drafter, quant, blockExperts, text: [...texts].map(([name, { sha256 }]) => [name, sha256]) })).digest('hex')
  return { source, config, drafter, quant, blockExperts, plan, outputs, promised, fingerprint }
}

/** The bytes of one of the checkpoint's text files. Rejects with ModelError 'not-found' where it has none. */
export async function readText (source: CheckpointSource, name: string): Promise<Uint8Array> {
  const bytes = await source.sideFile(name)
  if (bytes == null) throw new ModelError('not-found', `${source.location} holds no ${name}; download it from the checkpoint's repository.`, { path: source.location, name })
  return bytes
}

async function readTexts (source: CheckpointSource): Promise<Map<string, FileDigest>> {
  const texts = new Map<string, FileDigest>()
  for (const name of TEXT_FILES) {
    const bytes = name === TEXT_FILES[0] ? await readText(source, name) : await source.sideFile(name)
    if (bytes != null) texts.set(name, digestBytes(bytes))
  }
  return texts
}

function textsOf ({ files }: BundleManifest): Map<string, FileDigest> {
  const folder = 'text/'
  return new Map(Object.entries(files).filter(([file]) => file.startsWith(folder)).map(([file, digest]) => [file.slice(folder.length), digest]))
}

async function readPromised (path: string): Promise<Promised> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new ModelError('not-found', `There is no manifest at ${path}; give the manifest.json of a bundle.`, { path }, { cause })
  })
  return { manifest: parseManifest(text, path), path }
}

function requirePromised (source: CheckpointSource, { manifest, path }: Promised, { config, drafter, quant, blockExperts, plan }: Pick<Conversion, 'config' | 'drafter' | 'quant' | 'blockExperts' | 'plan'>): void {
  const sizes = (entries: Array<[string, number]>): string => canonicalJson(entries.filter(([file]) => !file.startsWith('text/')).sort(([a], [b]) => a < b ? -1 : 1))
  const equal: Record<string, boolean> = {
    'the model': canonicalJson(manifest.config) === canonicalJson(config),
    'the drafter': canonicalJson(manifest.drafter ?? {}) === canonicalJson(drafter ?? {}),
    [`quant, which is ${manifest.quant}`]: manifest.quant === quant,
    [`experts a block, which are ${manifest.blockExperts}`]: manifest.blockExperts === blockExperts,
    'the places of tensors': canonicalJson([manifest.tensors, manifest.blocks]) === canonicalJson([plan.tensors, plan.blocks]),
    'the sizes of files': sizes(Object.entries(manifest.files).map(([file, { bytes }]) => [file, bytes])) === sizes(plan.files.map(({ file, bytes }) => [file, bytes]))
  }
  const [differs] = Object.keys(equal).filter(what => !equal[what])
  if (differs != null) {
    throw new ModelError('hash-mismatch', `${path} is of another bundle than ${source.location} gives (it differs in ${differs}); give the manifest of a bundle of this checkpoint, or convert without one.`,
      { path, what: differs })
  }
}

async function readConfig (source: CheckpointSource): Promise<unknown> {
  const config = await readJson(source, 'config.json')
  if (config === undefined) throw new ModelError('not-found', `${source.location} holds no config.json; give a complete checkpoint.`, { path: source.location })
  return config
}

async function readDrafter (source: CheckpointSource, { drafter: form, modelTypes }: Architecture, config: ModelConfig): Promise<DrafterConfig> {
  if (form == null) throw new ModelError('unsupported', `There are no drafters for ${modelTypes[0]} models; convert without --drafter.`, { path: source.location })
  const drafter = form.parseConfig(await readConfig(source), config)
  requireDrafterTensors(source, form, config, drafter)
  return drafter
}

/** A part without client needs no weights of the drafter that the whole has. */
function promisedDrafter (promised: Promised | undefined, { client = true }: ConversionSettings): DrafterConfig | undefined {
  const drafter = promised?.manifest.drafter
  if (drafter != null && client) {
    throw new ModelError('not-found', `${promised?.path} is of a bundle with a drafter: give its checkpoint with --drafter, or leave out the client part with --no-client.`, { path: promised?.path })
  }
  return drafter
}

async function readJson (source: CheckpointSource, name: string): Promise<unknown> {
  const bytes = await source.sideFile(name)
  return bytes == null ? undefined : parseJson(new TextDecoder().decode(bytes), `${name} of ${source.location}`)
}
