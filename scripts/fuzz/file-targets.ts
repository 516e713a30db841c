import { ModelError } from '../../model-tools/index.js'
import type { CheckpointFolder } from '../../model-tools/checkpoint/folder.js'
import { readGgufHeader } from '../../model-tools/checkpoint/gguf-header.js'
import { openSafetensors } from '../../model-tools/checkpoint/safetensors.js'
import { ggufHeader, type GgufMetadata } from '../../model-tools/synth/gguf-writer.js'
import { hostileJson } from './manifests.js'
import { joined, type Random } from './random.js'
import { type FuzzTarget, must } from './target.js'

/** Files of checkpoints, which people get from each other. */
export const FILE_TARGETS: readonly FuzzTarget[] = [
  {
    name: 'gguf-header',
    reads: 'metadata and tensors of a GGUF file',
    share: 1,
    valid: ggufFile,
    kinds: [0x47],
    decode: async input => {
      const { metadata, tensors, dataStart } = await readGgufHeader('fuzz.gguf', input.length, async (position, length) => {
        must(position >= 0 && position + length <= input.length, 'a read outside of the file')
        return input.subarray(position, position + length)
      })
      for (const { offset, bytes } of tensors.values()) must(bytes > 0 && dataStart + offset + bytes <= input.length, 'a tensor outside of the file')
      return 64 * (metadata.size + tensors.size)
    },
    // An array of bytes becomes one of numbers, an empty string and its key some objects.
    mayTake: bytes => bytes * 64
  },
  {
    name: 'safetensors-header',
    reads: 'the JSON header of a safetensors file',
    share: 1,
    valid: safetensorsFile,
    decode: async input => {
      const { folder, opened } = folderOf(input)
      const source = await openSafetensors(folder)
      opened()
      let bytes = 0
      for (const tensor of source.tensors.values()) {
        must((await source.read(tensor.name, 0, tensor.bytes)).length === tensor.bytes, 'a tensor outside of the file')
        bytes += tensor.bytes
      }
      must(bytes <= input.length, 'more bytes than came in')
      return bytes
    },
    mayTake: bytes => bytes * 64
  }
]

const NAMES = ['token_embd.weight', 'blk.0.attn_q.weight', 'blk.0.ffn_gate_up_exps.weight', 'output_norm.weight', 'x'] as const

function ggufFile (random: Random): Uint8Array {
  const word = (): string => Buffer.from(random.bytes(random.below(12))).toString('base64')
  const metadata: Record<string, GgufMetadata[string]> = {
    'general.architecture': { type: 'string', value: 'gemma4' },
    'general.alignment': { type: 'u32', value: 32 },
    'tokenizer.ggml.tokens': { type: 'string[]', value: Array.from({ length: random.below(6) }, word) },
    'tokenizer.ggml.token_type': { type: 'i32[]', value: Array.from({ length: random.below(6) }, () => random.below(7)) },
    'tokenizer.ggml.scores': { type: 'f32[]', value: Array.from({ length: random.below(4) }, () => random.below(100) / 7) },
    'gemma4.attention.sliding_window_pattern': { type: 'bool[]', value: Array.from({ length: random.below(4) }, () => random.chance(0.5)) },
    'gemma4.rope.freq_base': { type: 'f32', value: 1e6 },
    'tokenizer.ggml.add_bos_token': { type: 'bool', value: true }
  }
  for (const key of Object.keys(metadata)) if (key !== 'general.alignment' && random.chance(0.3)) Reflect.deleteProperty(metadata, key)
  const tensors = NAMES.slice(0, random.below(NAMES.length + 1)).map(name => random.of([
    { name, dtype: 'F32', shape: [1 + random.below(3), 1 + random.below(4)] },
    { name, dtype: 'BF16', shape: [1 + random.below(8)] },
    { name, dtype: 'Q8_0', shape: [1 + random.below(2), 32] }
  ])).map(tensor => ({ ...tensor, bytes: bytesOf(tensor) }))
  const { header, bytes } = ggufHeader(metadata, tensors)
  return joined(header, new Uint8Array(bytes - header.length))
}

function bytesOf ({ dtype, shape }: { dtype: string, shape: number[] }): number {
  const values = shape.reduce((product, size) => product * size, 1)
  return dtype === 'Q8_0' ? values / 32 * 34 : values * (dtype === 'F32' ? 4 : 2)
}

function safetensorsFile (random: Random): Uint8Array {
  let offset = 0
  const tensors = Object.fromEntries(NAMES.slice(0, random.below(NAMES.length + 1)).map(name => {
    const tensor = random.of([{ dtype: 'F32', shape: [1 + random.below(3), 1 + random.below(4)] }, { dtype: 'BF16', shape: [1 + random.below(8)] }, { dtype: 'F32', shape: [] as number[] }])
    const start = offset
    offset += bytesOf(tensor)
    return [name, { ...tensor, data_offsets: [start, offset] }]
  }))
  const text = Buffer.from(JSON.stringify({ __metadata__: { format: 'pt' }, ...tensors }))
  const header = random.chance(0.5) ? text : hostileJson(random, text)
  const lead = new Uint8Array(8)
  new DataView(lead.buffer).setUint32(0, header.length, true)
  return joined(lead, header, new Uint8Array(offset))
}

/** A folder with one file, which after `opened` has to be asked only for what it has. */
function folderOf (bytes: Uint8Array): { folder: CheckpointFolder, opened: () => void } {
  const path = 'model.safetensors'
  let isOpen = false
  const folder: CheckpointFolder = {
    location: 'fuzz',
    path: name => name,
    open: async name => name !== path ? undefined : {
      path,
      bytes: bytes.length,
      version: '1',
      read: async (position, length) => {
        const has = position >= 0 && position + length <= bytes.length
        must(has || !isOpen, 'a read outside of the file')
        if (!has) throw new ModelError('malformed', 'The file ends.', { path })
        return bytes.slice(position, position + length)
      },
      close: async () => {}
    },
    list: async () => [path],
    sideFile: async () => undefined,
    close: async () => {}
  }
  return { folder, opened: () => { isOpen = true } }
}
