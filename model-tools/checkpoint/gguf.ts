import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import type { Architecture, GgufForm } from '../architectures/architecture.js'
import { architectureOfGguf } from '../architectures/index.js'
import { ModelError } from '../errors.js'
import { Fields } from '../fields.js'
import { dtypeOf } from './dtypes.js'
import type { CheckpointFolder, RangeFile } from './folder.js'
import { ggufParts } from './gguf-files.js'
import { readGgufHeader, type GgufHeader, type GgufTensor, type GgufValue } from './gguf-header.js'
import { ggufText, ggufTokenIds } from './gguf-text.js'
import type { CheckpointSource, CheckpointTensor } from './source.js'

/** Small tensors are read whole to write a configuration; a rotary table has 256 values. */
const MAX_SMALL_TENSOR_BYTES = 1024 * 1024
/** Files of the text side: those beside the weights are used where there is a tokenizer among them, else all are made from the metadata. */
const TEXT_FILES = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja', 'special_tokens_map.json']

/** One of the files of a model. */
interface Part {
  file: RangeFile
  header: GgufHeader
}

/** A tensor of a file, and where in it. */
interface FiledTensor extends GgufTensor {
  file: RangeFile
  /** Of its first byte in the file. */
  position: number
}

/** A checkpoint tensor as runs of rows out of the files' tensors, which alternate along the outermost dimension. */
interface Placed extends CheckpointTensor {
  parts: FiledTensor[]
}

/**
 * Opens a GGUF file of a folder as a checkpoint, with the further parts where its name says -00001-of-0000N: tensors under the names of the architecture,
 * config.json and tokenizer made from the metadata. Reads headers only; weights by range. The source closes the folder with itself.
 * Rejects with ModelError 'not-found', 'malformed' or 'unsupported' naming the file.
 */
export async function openGguf (folder: CheckpointFolder, name: string): Promise<CheckpointSource> {
  const names = ggufParts(name)
  const parts: Part[] = []
  try {
    for (const [index, part] of names.entries()) parts.push(await openPart(folder, part, index, names.length))
    return new GgufSource(folder, name, parts)
  } catch (error) {
    await Promise.all(parts.map(async ({ file }) => file.close()))
    throw error
  }
}

async function openPart (folder: CheckpointFolder, name: string, index: number, count: number): Promise<Part> {
  const path = folder.path(name)
  const file = await folder.open(name)
  if (file == null) {
    throw new ModelError('not-found', count === 1 ? `${path} cannot be opened; give a GGUF file that you may read.` : `${path}, part ${index + 1} of ${count} of the model, cannot be opened; get the missing part.`, { path })
  }
  try {
    const header = await readGgufHeader(path, file.bytes, async (position, length) => file.read(position, length))
    requirePlace(path, header.metadata, index, count)
    return { file, header }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** The place that a part has by its name is the one that it says it has; joined again, a file says that it has 0 parts. */
function requirePlace (path: string, metadata: Map<string, GgufValue>, index: number, count: number): void {
  const [own = 0, parts = 1] = [metadata.get('split.no'), metadata.get('split.count')]
  if (Math.max(1, Number(parts)) === count && own === index) return
  throw new ModelError('unsupported', `${path} says that it is part ${Number(own) + 1} of ${String(parts)}, and its name another thing; parts are called NAME-00001-of-0000N.gguf, as llama-gguf-split writes them.`, { path, part: own, parts })
}

class GgufSource implements CheckpointSource {
  readonly location: string
  readonly pinned?: string
  readonly tensors: ReadonlyMap<string, CheckpointTensor>
  readonly fingerprint: string
  readonly normsWhole: boolean
  /** By the files' own names. */
  readonly #filed: Map<string, FiledTensor>
  readonly #placed: Map<string, Placed>
  readonly #architecture: Architecture & { gguf: GgufForm }

  constructor (private readonly folder: CheckpointFolder, name: string, private readonly parts: Part[]) {
    this.location = folder.path(name)
    this.pinned = folder.pinned == null ? undefined : `${folder.pinned}:${name}`
    this.#architecture = architectureOfGguf(this.#header.metadata.get('general.architecture'), this.location)
    this.normsWhole = this.#architecture.gguf.normsWhole === true
    this.#filed = fileTensors(this.location, parts)
    this.#placed = placeTensors(this.location, this.#architecture, this.#filed)
    this.tensors = new Map([...this.#placed].map(([name, { dtype, shape, bytes }]) => [name, { name, dtype, shape, bytes }]))
    this.fingerprint = parts.map(({ file, header }) => {
      const layout = [...header.tensors.values()].map(({ name, dtype, shape, offset }) => [name, dtype, shape, offset])
      const digest = createHash('sha256').update(JSON.stringify([[...header.metadata], layout])).digest('hex')
      return `${basename(file.path)}:${file.bytes}:${file.version}:${digest}`
    }).join(' ')
  }

  async read (name: string, offset: number, length: number): Promise<Uint8Array> {
    const tensor = this.#placed.get(name)
    if (tensor == null) throw new ModelError('missing-tensor', `${this.location} holds no tensor ${name}.`, { names: [name] })
    if (offset < 0 || length < 0 || offset + length > tensor.bytes) {
      throw new RangeError(`Bytes ${offset} to ${offset + length} lie outside of tensor ${name} with ${tensor.bytes} bytes`)
    }
    const { parts } = tensor
    if (parts.length === 1) return parts[0].file.read(parts[0].position + offset, length)
    const bytes = new Uint8Array(length)
    for (const { file, from, length: pieceLength, to } of piecesOf(tensor, offset, length)) bytes.set(await file.read(from, pieceLength), to)
    return bytes
  }

  async sideFile (name: string): Promise<Uint8Array | undefined> {
    if (name === 'config.json') return json(await this.#config())
    if (name === 'generation_config.json') return await this.folder.sideFile(name) ?? json(this.#generation())
    if (!TEXT_FILES.includes(name)) return undefined
    const own = await this.folder.sideFile(TEXT_FILES[0])
    if (own != null) return name === TEXT_FILES[0] ? own : this.folder.sideFile(name)
    const text = ggufText(this.#metadata(), name, this.#architecture.gguf)
    return text == null ? undefined : new TextEncoder().encode(text)
  }

  async close (): Promise<void> {
    await Promise.all(this.parts.map(async ({ file }) => file.close()))
    await this.folder.close()
  }

  /** All parts but the first have tensors alone. */
  get #header (): GgufHeader { return this.parts[0].header }

  async #config (): Promise<unknown> {
    const metadata = this.#metadata()
    const config = await this.#architecture.gguf.config({
      metadata,
      shapes: new Map([...this.#filed].map(([name, { shape }]) => [name, shape])),
      values: async name => {
        const tensor = this.#filed.get(name)
        if (tensor == null) return undefined
        if (tensor.bytes > MAX_SMALL_TENSOR_BYTES) throw new ModelError('malformed', `${this.location}: tensor ${name} has ${tensor.bytes} bytes, too many for what it is; get the file again.`, { name })
        return dtypeOf(tensor.dtype)?.decode(await tensor.file.read(tensor.position, tensor.bytes))
      }
    })
    return { ...config, ...ggufTokenIds(metadata, this.#architecture.gguf) }
  }

  /** Newer files repeat the release's generation_config.json. */
  #generation (): unknown {
    const metadata = this.#metadata()
    const names = { temperature: 'temp', top_k: 'top_k', top_p: 'top_p' }
    return Object.fromEntries(Object.entries(names).map(([key, name]) => [key, metadata.get(`general.sampling.${name}`)]).filter(([, value]) => value !== undefined))
  }

  #metadata (): Fields {
    return new Fields(Object.fromEntries(this.#header.metadata), this.location, 'unsupported')
  }
}

function fileTensors (path: string, parts: Part[]): Map<string, FiledTensor> {
  const filed = new Map<string, FiledTensor>()
  for (const { file, header } of parts) {
    for (const [name, tensor] of header.tensors) {
      if (filed.has(name)) throw new ModelError('malformed', `${path} holds tensor ${name} in two of its parts; get the parts again.`, { path, name })
      filed.set(name, { ...tensor, file, position: header.dataStart + tensor.offset })
    }
  }
  return filed
}

/** Gives every tensor of the file its place in the checkpoint. One that the architecture does not know keeps its name, so that nobody leaves it out silently. */
function placeTensors (path: string, { prefixes: [prefix], gguf }: Architecture & { gguf: GgufForm }, tensors: Map<string, FiledTensor>): Map<string, Placed> {
  const placed = new Map<string, Placed>()
  const partsOf = new Map<string, string>(Object.values(gguf.joined).flatMap(parts => parts.map(part => [part, parts[0]])))
  for (const [name, tensor] of tensors) {
    const [generic, layer] = genericName(name)
    if (gguf.ignored.includes(generic) || (partsOf.get(generic) ?? generic) !== generic) continue
    const whole = Object.entries(gguf.joined).find(([, parts]) => parts[0] === generic)
    const target = prefix + inLayer(whole?.[0] ?? gguf.tensors[generic] ?? name, layer)
    if (placed.has(target)) throw new ModelError('malformed', `${path} holds ${target} whole and in parts; get the file again.`, { path, name: target })
    const parts = whole == null ? [tensor] : whole[1].map(part => requirePart(path, tensors, inLayer(part, layer), tensor))
    placed.set(target, joinTensors(target, parts))
  }
  return placed
}

/** blk.7.attn_q.weight -> [blk.N.attn_q.weight, 7] */
function genericName (name: string): [string, string] {
  const found = /^blk\.(\d+)\./.exec(name)
  return found == null ? [name, ''] : [name.replace(found[0], 'blk.N.'), found[1]]
}

function inLayer (generic: string, layer: string): string {
  return generic.replace(/(^|\.)N\./, `$1${layer}.`)
}

function requirePart (path: string, tensors: Map<string, FiledTensor>, name: string, first: FiledTensor): FiledTensor {
  const part = tensors.get(name)
  if (part == null) throw new ModelError('missing-tensor', `${path} holds ${first.name} but not ${name}, which belongs to it; get the file again.`, { path, names: [name] })
  if (part.dtype !== first.dtype || part.shape.length !== first.shape.length || part.shape[0] !== first.shape[0] || part.shape.at(-1) !== first.shape.at(-1)) {
    throw new ModelError('unsupported', `${path}: ${first.name} is ${first.dtype} [${first.shape.join(', ')}] and ${name} is ${part.dtype} [${part.shape.join(', ')}], which cannot be joined; use a file that holds both in one type.`,
      { path, names: [first.name, name] })
  }
  return part
}

function joinTensors (name: string, parts: FiledTensor[]): Placed {
  const [first] = parts
  const shape = [...first.shape]
  if (parts.length > 1) shape[shape.length - 2] = parts.reduce((sum, part) => sum + (part.shape.at(-2) ?? 0), 0)
  return { name, dtype: first.dtype, shape, bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0), parts }
}

/** Where bytes [offset, offset + length) of a joined tensor lie: item by item of the outermost dimension, each one part after the other. */
function * piecesOf ({ shape: [items], parts }: Placed, offset: number, length: number): Generator<{ file: RangeFile, from: number, length: number, to: number }> {
  let position = 0
  for (let item = 0; item < items && position < offset + length; item++) {
    for (const part of parts) {
      const size = part.bytes / items
      const start = Math.max(position, offset)
      const end = Math.min(position + size, offset + length)
      if (start < end) yield { file: part.file, from: part.position + item * size + start - position, length: end - start, to: start - offset }
      position += size
    }
  }
}

function json (value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}
