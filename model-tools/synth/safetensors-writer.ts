import { join } from 'node:path'
import { writeAtomically } from '../bundle/atomic-file.js'
import { streamTensor, type StreamedTensor, type WriteHooks } from './stream.js'

const INDEX_FILE = 'model.safetensors.index.json'
const SINGLE_FILE = 'model.safetensors'
/** Data start on a multiple of this, as the format's reference implementation writes them. */
const HEADER_ALIGNMENT = 8

/** Tensors of one file, and the header that describes them. */
interface Shard {
  file: string
  header: Uint8Array
  tensors: readonly StreamedTensor[]
}

/** Bytes of the weights' files, but for the index. */
export function safetensorsBytes (tensors: readonly StreamedTensor[], shards: number): number {
  return planShards(tensors, shards).reduce((sum, { header, tensors: own }) => sum + header.length + bytesOfAll(own), 0)
}

/**
 * Writes tensors as model.safetensors, or as so many files of about one size with an index, which comes last. Each file is there wholly or not
 * at all. `onFile` gets the name of every file before it is made. Rejects with the file system's error or the signal's reason.
 */
export async function writeSafetensors (dir: string, tensors: readonly StreamedTensor[], shards: number, hooks: WriteHooks, onFile: (file: string) => void): Promise<void> {
  const plan = planShards(tensors, shards)
  for (const { file, header, tensors: own } of plan) {
    onFile(file)
    await writeAtomically(join(dir, file), async sink => {
      await sink.write(header)
      hooks.onBytes?.(header.length)
      for (const tensor of own) await streamTensor(tensor, sink, hooks)
    })
  }
  if (plan.length === 1) return
  onFile(INDEX_FILE)
  const map = plan.flatMap(({ file, tensors: own }) => own.map(({ name }): [string, string] => [name, file])).sort(([a], [b]) => a < b ? -1 : 1)
  const index = { metadata: { total_size: bytesOfAll(tensors) }, weight_map: Object.fromEntries(map) }
  await writeAtomically(join(dir, INDEX_FILE), async sink => sink.write(new TextEncoder().encode(JSON.stringify(index, undefined, 2))))
}

function planShards (tensors: readonly StreamedTensor[], shards: number): Shard[] {
  const share = bytesOfAll(tensors) / shards
  const groups: StreamedTensor[][] = [[]]
  let before = 0
  for (const tensor of tensors) {
    // A file ends with the tensor that reaches the end of its share.
    if (before >= share * groups.length && groups.length < shards) groups.push([])
    groups[groups.length - 1].push(tensor)
    before += tensor.bytes
  }
  const number = (value: number): string => String(value).padStart(5, '0')
  return groups.map((own, index): Shard => ({
    file: groups.length === 1 ? SINGLE_FILE : `model-${number(index + 1)}-of-${number(groups.length)}.safetensors`, header: headerOf(own), tensors: own
  }))
}

function headerOf (tensors: readonly StreamedTensor[]): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } }
  let offset = 0
  for (const { name, dtype, shape, bytes } of tensors) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes] }
    offset += bytes
  }
  const json = JSON.stringify(header)
  const text = new TextEncoder().encode(json.padEnd(Math.ceil(json.length / HEADER_ALIGNMENT) * HEADER_ALIGNMENT))
  const out = new Uint8Array(8 + text.length)
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true)
  out.set(text, 8)
  return out
}

function bytesOfAll (tensors: readonly StreamedTensor[]): number {
  return tensors.reduce((sum, { bytes }) => sum + bytes, 0)
}
