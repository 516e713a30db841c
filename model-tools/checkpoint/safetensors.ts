import { createHash } from 'node:crypto'
import { ModelError } from '../errors.js'
import { Fields, parseJson } from '../fields.js'
import type { CheckpointFolder, RangeFile } from './folder.js'
import type { CheckpointSource, CheckpointTensor } from './source.js'

const SINGLE_FILE = 'model.safetensors'
const INDEX_FILE = 'model.safetensors.index.json'

/** Of the format's reference implementation. Bounds what a hostile length field can make us allocate. */
const MAX_HEADER_BYTES = 100_000_000

/** Bytes a value, of every dtype with whole bytes that the format knows. */
const DTYPE_BYTES: Record<string, number> = {
  F64: 8, I64: 8, U64: 8, F32: 4, I32: 4, U32: 4, F16: 2, BF16: 2, I16: 2, U16: 2, I8: 1, U8: 1, BOOL: 1, F8_E4M3: 1, F8_E5M2: 1, F8_E8M0: 1
}

interface SafetensorsFile {
  file: RangeFile
  /** Position of the first tensor byte. */
  dataStart: number
  tensors: Map<string, CheckpointTensor & { offset: number }>
  fingerprint: string
}

/**
 * Opens `model.safetensors`, or the files that `model.safetensors.index.json` names. Reads headers only; weights by range. The source closes
 * the folder with itself. Rejects with ModelError 'not-found' or 'malformed' naming the file.
 */
export async function openSafetensors (folder: CheckpointFolder): Promise<CheckpointSource> {
  const index = await readIndex(folder)
  const names = index == null ? [SINGLE_FILE] : [...new Set(index.values())].sort()
  const files = new Map<string, SafetensorsFile>()
  try {
    for (const name of names) files.set(name, await openFile(folder, name, index != null))
    return new SafetensorsSource(folder, files, index)
  } catch (error) {
    await Promise.all([...files.values()].map(({ file }) => file.close()))
    throw error
  }
}

class SafetensorsSource implements CheckpointSource {
  readonly tensors: ReadonlyMap<string, CheckpointTensor>
  readonly fingerprint: string
  readonly location: string
  readonly pinned?: string
  readonly #owners = new Map<string, SafetensorsFile>()
  readonly #files: SafetensorsFile[]

  constructor (private readonly folder: CheckpointFolder, files: Map<string, SafetensorsFile>, index: Map<string, string> | undefined) {
    this.location = folder.location
    this.pinned = folder.pinned
    this.#files = [...files.values()]
    if (index == null) {
      for (const file of this.#files) for (const name of file.tensors.keys()) this.#owners.set(name, file)
    } else {
      for (const [name, fileName] of index) {
        const file = files.get(fileName)
        if (file == null || !file.tensors.has(name)) {
          throw new ModelError('malformed', `${folder.path(INDEX_FILE)} places tensor ${name} in ${fileName}, which does not hold it; index and files are not of one download, get them again.`,
            { path: folder.path(INDEX_FILE), name, file: fileName })
        }
        this.#owners.set(name, file)
      }
    }
    this.tensors = new Map([...this.#owners].map(([name, file]) => [name, file.tensors.get(name) as CheckpointTensor]))
    this.fingerprint = this.#files.map(file => file.fingerprint).join(' ')
  }

  async read (name: string, offset: number, length: number): Promise<Uint8Array> {
    const file = this.#owners.get(name)
    const tensor = file?.tensors.get(name)
    if (file == null || tensor == null) throw new ModelError('missing-tensor', `${this.location} holds no tensor ${name}.`, { names: [name] })
    if (offset < 0 || length < 0 || offset + length > tensor.bytes) {
      throw new RangeError(`Bytes ${offset} to ${offset + length} lie outside of tensor ${name} with ${tensor.bytes} bytes`)
    }
    return file.file.read(file.dataStart + tensor.offset + offset, length)
  }

  async sideFile (name: string): Promise<Uint8Array | undefined> {
    return this.folder.sideFile(name)
  }

  async close (): Promise<void> {
    await Promise.all(this.#files.map(({ file }) => file.close()))
    await this.folder.close()
  }
}

/** tensor name -> file name, or undefined for a checkpoint in one file. */
async function readIndex (folder: CheckpointFolder): Promise<Map<string, string> | undefined> {
  const path = folder.path(INDEX_FILE)
  const bytes = await folder.sideFile(INDEX_FILE)
  if (bytes == null) return undefined
  const text = new TextDecoder().decode(bytes)
  const map = new Fields(parseJson(text, path), path).object('weight_map')
  const index = new Map<string, string>()
  for (const name of map.keys()) {
    const file = map.string(name)
    // Shards lie beside the index: a path in here could only be an attempt to read something else.
    if (!/^[^/\\]+\.safetensors$/.test(file)) throw map.error(name, 'must be the name of a .safetensors file beside the index')
    index.set(name, file)
  }
  return index
}

async function openFile (folder: CheckpointFolder, name: string, fromIndex: boolean): Promise<SafetensorsFile> {
  const path = folder.path(name)
  const file = await folder.open(name)
  if (file == null) {
    throw new ModelError('not-found', fromIndex
      ? `${folder.path(INDEX_FILE)} names ${name}, which cannot be opened; download the missing file.`
      : `${folder.location} holds neither ${SINGLE_FILE} nor ${INDEX_FILE}; give a checkpoint with safetensors weights.`, { path })
  }
  try {
    const lead = await file.read(0, 8)
    const headerBytes = new DataView(lead.buffer, lead.byteOffset).getBigUint64(0, true)
    if (headerBytes > MAX_HEADER_BYTES || 8n + headerBytes > file.bytes) {
      throw new ModelError('malformed', `${path} announces a header of ${headerBytes} bytes but has ${file.bytes}; it is truncated or no safetensors file, get it again.`, { path })
    }
    const dataStart = 8 + Number(headerBytes)
    const header = await file.read(8, Number(headerBytes))
    const tensors = parseHeader(path, new TextDecoder().decode(header), file.bytes - dataStart)
    const digest = createHash('sha256').update(header).digest('hex')
    return { file, dataStart, tensors, fingerprint: `${name}:${file.bytes}:${file.version}:${digest}` }
  } catch (error) {
    await file.close()
    throw error
  }
}

function parseHeader (path: string, text: string, dataBytes: number): SafetensorsFile['tensors'] {
  const header = new Fields(parseJson(text, `The header of ${path}`), path)
  const tensors: SafetensorsFile['tensors'] = new Map()
  for (const name of header.keys()) {
    if (name === '__metadata__') continue
    const fields = header.object(name)
    const dtype = fields.string('dtype')
    const shape = fields.array('shape')
    const offsets = fields.array('data_offsets')
    const [start, end] = offsets
    if (!shape.every(isSize)) throw fields.error('shape', 'must be a list of sizes')
    if (offsets.length !== 2 || !isSize(start) || !isSize(end) || start > end) throw fields.error('data_offsets', 'must be a start and an end')
    if (end > dataBytes) throw fields.error('data_offsets', `reaches past the ${dataBytes} bytes of data in the file, which is truncated: get it again`)
    const width = DTYPE_BYTES[dtype]
    // A dtype that we do not know cannot be checked, and is only an error when it is read.
    const expected = width == null ? end - start : shape.reduce((product, size) => product * size, width)
    if (end - start !== expected) throw fields.error('data_offsets', `must span the ${expected} bytes of shape [${shape.join(', ')}] in ${dtype}`)
    tensors.set(name, { name, dtype, shape, bytes: end - start, offset: start })
  }
  requireContiguous(path, tensors, dataBytes)
  return tensors
}

/** The format allows neither holes nor overlaps: either means that a writer broke off or that somebody plays tricks. */
function requireContiguous (path: string, tensors: SafetensorsFile['tensors'], dataBytes: number): void {
  let position = 0
  for (const tensor of [...tensors.values()].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (tensor.offset !== position) {
      throw new ModelError('malformed', `${path}: tensor ${tensor.name} starts at byte ${tensor.offset} where ${position} is due; the file is damaged, get it again.`, { path, name: tensor.name })
    }
    position += tensor.bytes
  }
  if (position !== dataBytes) {
    throw new ModelError('malformed', `${path} holds ${dataBytes} bytes of data where its header describes ${position}; the file is damaged, get it again.`, { path })
  }
}

function isSize (value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
