import { createHash } from 'node:crypto'
import { open, type FileHandle } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { Architecture, GgufForm } from '../architectures/architecture.js'
import { architectureOfGguf } from '../architectures/index.js'
import { ModelError } from '../errors.js'
import { Fields } from '../fields.js'
import { dtypeOf } from './dtypes.js'
import { readGgufHeader, type GgufHeader, type GgufTensor } from './gguf-header.js'
import { ggufText, ggufTokenIds } from './gguf-text.js'
import { readSideFile } from './side-file.js'
import type { CheckpointSource, CheckpointTensor } from './source.js'

/** Small tensors are read whole to write a configuration; a rotary table has 256 values. */
const MAX_SMALL_TENSOR_BYTES = 1024 * 1024
/** Files of the text side: those beside the weights are used where there is a tokenizer among them, else all are made from the metadata. */
const TEXT_FILES = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja', 'special_tokens_map.json']

/** A checkpoint tensor as runs of rows out of the file's tensors, which alternate along the outermost dimension. */
interface Placed extends CheckpointTensor {
  parts: GgufTensor[]
}

/**
 * Opens a GGUF file as a checkpoint: tensors under the names of the architecture, config.json and tokenizer made from the metadata.
 * Reads the header only; weights by range. Rejects with ModelError 'not-found', 'malformed' or 'unsupported' naming the file.
 */
export async function openGguf (path: string): Promise<CheckpointSource> {
  const handle = await open(path).catch((cause: unknown) => {
    throw new ModelError('not-found', `${path} cannot be opened; give a GGUF file that you may read.`, { path }, { cause })
  })
  try {
    const { size, mtimeMs } = await handle.stat()
    const header = await readGgufHeader(path, size, async (position, length) => readExactly(path, handle, position, length))
    return new GgufSource(path, handle, header, `${basename(path)}:${size}:${mtimeMs}`)
  } catch (error) {
    await handle.close()
    throw error
  }
}

class GgufSource implements CheckpointSource {
  readonly tensors: ReadonlyMap<string, CheckpointTensor>
  readonly fingerprint: string
  readonly #placed: Map<string, Placed>
  readonly #architecture: Architecture & { gguf: GgufForm }

  constructor (readonly location: string, private readonly handle: FileHandle, private readonly header: GgufHeader, stamp: string) {
    this.#architecture = architectureOfGguf(header.metadata.get('general.architecture'), location)
    this.#placed = placeTensors(location, this.#architecture, header.tensors)
    this.tensors = new Map([...this.#placed].map(([name, { dtype, shape, bytes }]) => [name, { name, dtype, shape, bytes }]))
    const layout = [...header.tensors.values()].map(({ name, dtype, shape, offset }) => [name, dtype, shape, offset])
    this.fingerprint = `${stamp}:${createHash('sha256').update(JSON.stringify([[...header.metadata], layout])).digest('hex')}`
  }

  async read (name: string, offset: number, length: number): Promise<Uint8Array> {
    const tensor = this.#placed.get(name)
    if (tensor == null) throw new ModelError('missing-tensor', `${this.location} holds no tensor ${name}.`, { names: [name] })
    if (offset < 0 || length < 0 || offset + length > tensor.bytes) {
      throw new RangeError(`Bytes ${offset} to ${offset + length} lie outside of tensor ${name} with ${tensor.bytes} bytes`)
    }
    const { parts } = tensor
    if (parts.length === 1) return this.#readAt(parts[0].offset + offset, length)
    const bytes = new Uint8Array(length)
    for (const piece of piecesOf(tensor, offset, length)) bytes.set(await this.#readAt(piece.from, piece.length), piece.to)
    return bytes
  }

  async sideFile (name: string): Promise<Uint8Array | undefined> {
    const dir = dirname(this.location)
    if (name === 'config.json') return json(await this.#config())
    if (name === 'generation_config.json') return await readSideFile(dir, name) ?? json(this.#generation())
    if (!TEXT_FILES.includes(name)) return undefined
    const own = await readSideFile(dir, TEXT_FILES[0])
    if (own != null) return name === TEXT_FILES[0] ? own : readSideFile(dir, name)
    const text = ggufText(this.#metadata(), name, this.#architecture.gguf)
    return text == null ? undefined : new TextEncoder().encode(text)
  }

  async close (): Promise<void> {
    await this.handle.close()
  }

  async #config (): Promise<unknown> {
    const metadata = this.#metadata()
    const config = await this.#architecture.gguf.config({
      metadata,
      shapes: new Map([...this.header.tensors].map(([name, { shape }]) => [name, shape])),
      values: async name => {
        const tensor = this.header.tensors.get(name)
        if (tensor == null) return undefined
        if (tensor.bytes > MAX_SMALL_TENSOR_BYTES) throw new ModelError('malformed', `${this.location}: tensor ${name} has ${tensor.bytes} bytes, too many for what it is; get the file again.`, { name })
        return dtypeOf(tensor.dtype)?.decode(await this.#readAt(tensor.offset, tensor.bytes))
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
    return new Fields(Object.fromEntries(this.header.metadata), this.location, 'unsupported')
  }

  async #readAt (offset: number, length: number): Promise<Uint8Array> {
    return readExactly(this.location, this.handle, this.header.dataStart + offset, length)
  }
}

/** Gives every tensor of the file its place in the checkpoint. One that the architecture does not know keeps its name, so that nobody leaves it out silently. */
function placeTensors (path: string, { prefixes: [prefix], gguf }: Architecture & { gguf: GgufForm }, tensors: Map<string, GgufTensor>): Map<string, Placed> {
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

function requirePart (path: string, tensors: Map<string, GgufTensor>, name: string, first: GgufTensor): GgufTensor {
  const part = tensors.get(name)
  if (part == null) throw new ModelError('missing-tensor', `${path} holds ${first.name} but not ${name}, which belongs to it; get the file again.`, { path, names: [name] })
  if (part.dtype !== first.dtype || part.shape.length !== first.shape.length || part.shape[0] !== first.shape[0] || part.shape.at(-1) !== first.shape.at(-1)) {
    throw new ModelError('unsupported', `${path}: ${first.name} is ${first.dtype} [${first.shape.join(', ')}] and ${name} is ${part.dtype} [${part.shape.join(', ')}], which cannot be joined; use a file that holds both in one type.`,
      { path, names: [first.name, name] })
  }
  return part
}

function joinTensors (name: string, parts: GgufTensor[]): Placed {
  const [first] = parts
  const shape = [...first.shape]
  if (parts.length > 1) shape[shape.length - 2] = parts.reduce((sum, part) => sum + (part.shape.at(-2) ?? 0), 0)
  return { name, dtype: first.dtype, shape, bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0), parts }
}

/** Where bytes [offset, offset + length) of a joined tensor lie: item by item of the outermost dimension, each one part after the other. */
function * piecesOf ({ shape: [items], parts }: Placed, offset: number, length: number): Generator<{ from: number, length: number, to: number }> {
  let position = 0
  for (let item = 0; item < items && position < offset + length; item++) {
    for (const part of parts) {
      const size = part.bytes / items
      const start = Math.max(position, offset)
      const end = Math.min(position + size, offset + length)
      if (start < end) yield { from: part.offset + item * size + start - position, length: end - start, to: start - offset }
      position += size
    }
  }
}

function json (value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

async function readExactly (path: string, handle: FileHandle, position: number, length: number): Promise<Uint8Array> {
  // A fresh ArrayBuffer, not Buffer's shared pool: float views need its alignment.
  const bytes = new Uint8Array(length)
  let done = 0
  while (done < length) {
    const { bytesRead } = await handle.read(bytes, done, length - done, position + done)
    if (bytesRead === 0) throw new ModelError('malformed', `${path} ends at byte ${position + done} in the middle of its data; it is truncated, get it again.`, { path })
    done += bytesRead
  }
  return bytes
}
