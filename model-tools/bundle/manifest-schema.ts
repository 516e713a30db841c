import type { ClientTensorPlan } from '../architectures/architecture.js'
import { architectureOf, clientTensors } from '../architectures/index.js'
import { ModelError } from '../errors.js'
import { Fields, parseJson } from '../fields.js'
import { dataBytes, scaleBytes, WEIGHT_FORMATS, zeroBytes } from '../quantize/rows.js'
import { canonicalJson } from './canonical-json.js'
import { FILE_CHUNK_BYTES } from './file-hash.js'
import { expertLayout } from './layout.js'
import {
  ARCHITECTURE_NAMES, TENSOR_ALIGNMENT, type AttentionConfig, type BlockEntry, type BundleManifest, type DrafterConfig, type LayerType, type ModelConfig, type TensorEntry, type WeightFormat
} from './manifest.js'

/** No segment starts with a dot, so no path leaves the bundle; and no partial or hidden file is one of a bundle. */
const SHA256 = /^[0-9a-f]{64}$/

const FILE_NAME = /^(client|experts|text)(\/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){1,4}$/
/** Far above any model; bounds what one number in a manifest can make a reader allocate. */
const MAX_SIZE = 2 ** 31 - 1

/**
 * Parses the bytes of a manifest.json and checks every field against the others, so that nobody behind it has to.
 * Throws ModelError 'malformed' naming the field.
 *
 * @param where - the file's path, for errors
 */
export function parseManifest (text: string, where: string): BundleManifest {
  const raw = parseJson(text, where)
  const fields = new Fields(raw, where)
  fields.oneOf('format', ['moeswarm-bundle/1'])
  // Else one content could have many ids. It also refuses duplicate keys, which parsers disagree about.
  if (canonicalJson(raw) !== text) throw new ModelError('malformed', `${where} is not canonical JSON; something has rewritten it, get the bundle again.`, { where })
  const config = parseModelConfig(fields.object('config'))
  const drafter = fields.has('drafter') ? parseDrafter(fields, config) : undefined
  const quant = fields.oneOf('quant', WEIGHT_FORMATS)
  const blockExperts = fields.integer('blockExperts', 1, config.experts)
  const files = parseFiles(fields.object('files'))
  const tensors = parseTensors(fields.object('tensors'), clientTensors(config, quant, drafter), files)
  const blocks = parseBlocks(fields, config, quant, files)
  fields.end()
  requireEveryFileUsed(where, files, tensors, blocks)
  return { format: 'moeswarm-bundle/1', config, ...drafter == null ? {} : { drafter }, quant, blockExperts, files, tensors, blocks }
}

function parseDrafter (fields: Fields, config: ModelConfig): DrafterConfig {
  if (architectureOf(config).drafter == null) throw fields.error('drafter', `cannot be of ${config.architecture}, which has none`)
  const drafter = fields.object('drafter')
  const parsed: DrafterConfig = {
    hiddenSize: drafter.integer('hiddenSize', 1, MAX_SIZE),
    layerTypes: parseLayerTypes(drafter),
    heads: drafter.integer('heads', 1, MAX_SIZE),
    intermediateSize: drafter.integer('intermediateSize', 1, MAX_SIZE),
    rmsNormEps: drafter.number('rmsNormEps', 0, 1)
  }
  for (const type of parsed.layerTypes) {
    if (!config.layerTypes.includes(type)) throw drafter.error('layerTypes', `has a ${type} layer, which the model has not`)
    if (parsed.heads % config.attention[type].kvHeads !== 0) throw drafter.error('heads', `must be a multiple of the model's ${config.attention[type].kvHeads} key/value heads`)
  }
  drafter.end()
  return parsed
}

function parseLayerTypes (fields: Fields): LayerType[] {
  const types = fields.array('layerTypes').map(type => {
    if (type !== 'sliding' && type !== 'full') throw fields.error('layerTypes', 'must hold "sliding" and "full" only')
    return type
  })
  if (types.length === 0 || types.length > 10_000) throw fields.error('layerTypes', 'must have 1 to 10000 entries')
  return types
}

function parseModelConfig (fields: Fields): ModelConfig {
  const attention = fields.object('attention')
  const sampling = fields.object('sampling')
  const vocabSize = fields.integer('vocabSize', 1, MAX_SIZE)
  const architecture = fields.oneOf('architecture', ARCHITECTURE_NAMES)
  const { router, dense } = architectureOf({ architecture }).layer
  const experts = fields.integer('experts', 1, router == null ? 1 : 65_535)
  const config: ModelConfig = {
    architecture,
    vocabSize,
    hiddenSize: fields.integer('hiddenSize', 1, MAX_SIZE),
    layerTypes: parseLayerTypes(fields),
    attention: { sliding: parseAttention(attention.object('sliding')), full: parseAttention(attention.object('full')) },
    slidingWindow: fields.integer('slidingWindow', 1, MAX_SIZE),
    denseIntermediateSize: dense == null ? fields.integer('denseIntermediateSize', 0, 0) : fields.integer('denseIntermediateSize', 1, MAX_SIZE),
    experts,
    topK: fields.integer('topK', 1, experts),
    expertIntermediateSize: fields.integer('expertIntermediateSize', 1, MAX_SIZE),
    rmsNormEps: fields.number('rmsNormEps', 0, 1),
    embeddingScale: fields.number('embeddingScale', 0, MAX_SIZE),
    logitSoftcap: fields.number('logitSoftcap', 0, 1e6),
    maxPositions: fields.integer('maxPositions', 1, MAX_SIZE),
    bosTokenId: fields.integer('bosTokenId', 0, vocabSize - 1),
    eosTokenIds: fields.array('eosTokenIds').map(id => {
      if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= vocabSize) throw fields.error('eosTokenIds', `must hold token ids below ${vocabSize}`)
      return id
    }),
    sampling: { temperature: sampling.number('temperature', 0, 100), topK: sampling.integer('topK', 0), topP: sampling.number('topP', 0, 1) }
  }
  for (const part of [attention, sampling, fields]) part.end()
  return config
}

function parseAttention (fields: Fields): AttentionConfig {
  const parsed: AttentionConfig = {
    heads: fields.integer('heads', 1, MAX_SIZE),
    kvHeads: fields.integer('kvHeads', 1, MAX_SIZE),
    headDim: fields.integer('headDim', 2, MAX_SIZE),
    ropeTheta: fields.number('ropeTheta', 1, 1e12),
    rotaryFactor: fields.number('rotaryFactor', 0, 1),
    valueFromKey: fields.boolean('valueFromKey')
  }
  for (const key of ['queryScale', 'ropeDivisor'] as const) {
    if (!fields.has(key)) continue
    parsed[key] = fields.number(key, 0, 1e6)
    if (parsed[key] === 0 || parsed[key] === 1) throw fields.error(key, 'must be above 0 and, where it is 1, absent')
  }
  if (parsed.heads % parsed.kvHeads !== 0) throw fields.error('heads', 'must be a multiple of kvHeads')
  if (parsed.headDim % 2 !== 0) throw fields.error('headDim', 'must be even')
  fields.end()
  return parsed
}

function parseFiles (fields: Fields): BundleManifest['files'] {
  const files: BundleManifest['files'] = {}
  for (const name of fields.keys()) {
    if (!FILE_NAME.test(name)) throw fields.error(name, 'is no name that a file of a bundle can have')
    const file = fields.object(name)
    const sha256 = file.string('sha256')
    if (!SHA256.test(sha256)) throw file.error('sha256', 'must be 64 lowercase hex digits')
    const bytes = file.integer('bytes', 0)
    const chunks = file.get('chunks')
    if (!Array.isArray(chunks) || chunks.length !== Math.ceil(bytes / FILE_CHUNK_BYTES) || !chunks.every((chunk): chunk is string => typeof chunk === 'string' && SHA256.test(chunk))) {
      throw file.error('chunks', `must be the sha256 of each ${FILE_CHUNK_BYTES} bytes`)
    }
    files[name] = { sha256, bytes, chunks }
    file.end()
  }
  return files
}

function parseTensors (fields: Fields, plans: ClientTensorPlan[], files: BundleManifest['files']): Record<string, TensorEntry> {
  const tensors: Record<string, TensorEntry> = {}
  for (const { name, shape, format } of plans) {
    const tensor = fields.object(name)
    const found = tensor.array('shape')
    if (found.length !== shape.length || shape.some((size, axis) => found[axis] !== size)) throw tensor.error('shape', `must be [${shape.join(', ')}] for this config`)
    tensor.oneOf('format', [format])
    tensors[name] = parsePlace(tensor, shape, format, files)
  }
  fields.end()
  requireDisjoint(fields, tensors)
  return tensors
}

function parsePlace (tensor: Fields, shape: number[], format: WeightFormat, files: BundleManifest['files']): TensorEntry {
  const file = parseFileName(tensor, files, 'client/')
  const values = shape.reduce((product, size) => product * size, 1)
  const end = (part: Fields, bytes: number): { offset: number, bytes: number } => {
    const offset = part.integer('offset', 0)
    if (offset % TENSOR_ALIGNMENT !== 0) throw part.error('offset', `must be a multiple of ${TENSOR_ALIGNMENT}`)
    if (part.integer('bytes', 0) !== bytes) throw part.error('bytes', `must be ${bytes} for this shape and format`)
    if (offset + bytes > files[file].bytes) throw part.error('offset', `reaches past the ${files[file].bytes} bytes of ${file}`)
    return { offset, bytes }
  }
  const entry: TensorEntry = { file, format, shape, ...end(tensor, dataBytes(format, values)) }
  for (const [part, bytes] of [['scales', scaleBytes(format, values)], ['zeros', zeroBytes(format, shape)]] as const) {
    if (bytes === 0) continue
    const place = tensor.object(part)
    entry[part] = end(place, bytes)
    place.end()
  }
  tensor.end()
  return entry
}

/** Overlapping tensors are no danger to a reader, but no writer makes them: whoever did has something in mind. */
function requireDisjoint (fields: Fields, tensors: Record<string, TensorEntry>): void {
  const parts = Object.entries(tensors).flatMap(([name, { file, offset, bytes, scales, zeros }]) =>
    [{ offset, bytes }, scales, zeros].flatMap(part => part == null ? [] : [{ name, file, ...part }]))
  parts.sort((a, b) => a.file === b.file ? a.offset - b.offset : a.file < b.file ? -1 : 1)
  for (let i = 1; i < parts.length; i++) {
    const before = parts[i - 1]
    if (before.file === parts[i].file && before.offset + before.bytes > parts[i].offset) throw fields.error(parts[i].name, `overlaps ${before.name}`)
  }
}

function parseBlocks (fields: Fields, config: ModelConfig, quant: WeightFormat, files: BundleManifest['files']): BlockEntry[] {
  const sizes = new Map<number, number>()
  let layer = 0
  let nextExpert = 0
  const blocks = fields.array('blocks').map((value, index): BlockEntry => {
    const block = new Fields(value, `${fields.where}: "blocks" ${index}`)
    if (nextExpert === config.experts) {
      layer++
      nextExpert = 0
    }
    // Blocks are sorted, so each must go on where the last one ended: this is what leaves no hole and no overlap.
    if (layer === config.layerTypes.length) throw fields.error('blocks', `go on after the last of ${layer} layers`)
    block.integer('layer', layer, layer)
    block.integer('firstExpert', nextExpert, nextExpert)
    const experts = block.integer('experts', 1, config.experts - nextExpert)
    const file = parseFileName(block, files, 'experts/')
    const bytes = sizes.get(experts) ?? expertLayout(config, quant, experts).bytes
    sizes.set(experts, bytes)
    if (files[file].bytes !== bytes) throw block.error('file', `must have ${bytes} bytes for ${experts} experts`)
    block.end()
    const firstExpert = nextExpert
    nextExpert += experts
    return { layer, firstExpert, experts, file }
  })
  if (layer !== config.layerTypes.length - 1 || nextExpert !== config.experts) {
    throw fields.error('blocks', `must cover all ${config.experts} experts of all ${config.layerTypes.length} layers`)
  }
  return blocks
}

function parseFileName (fields: Fields, files: BundleManifest['files'], folder: string): string {
  const file = fields.string('file')
  if (!Object.hasOwn(files, file) || !file.startsWith(folder)) throw fields.error('file', `must be one of the manifest's files in ${folder}`)
  return file
}

function requireEveryFileUsed (where: string, files: BundleManifest['files'], tensors: Record<string, TensorEntry>, blocks: BlockEntry[]): void {
  const ofBlocks = blocks.map(({ file }) => file)
  const used = new Set([...ofBlocks, ...Object.values(tensors).map(({ file }) => file)])
  const stray = Object.keys(files).find(file => !used.has(file) && !file.startsWith('text/'))
  if (stray != null) throw new ModelError('malformed', `${where}: file ${stray} holds no tensor and no block; the manifest is damaged, get it again.`, { where, file: stray })
  if (new Set(ofBlocks).size !== ofBlocks.length) throw new ModelError('malformed', `${where}: two blocks share a file; the manifest is damaged, get it again.`, { where })
}
