import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gemma3 } from '../../model-tools/architectures/gemma3.js'
import { gemma4 } from '../../model-tools/architectures/gemma4.js'
import type { ModelConfig } from '../../model-tools/bundle/manifest.js'
import { ggufParts } from '../../model-tools/checkpoint/gguf-files.js'
import { openCheckpoint } from '../../model-tools/checkpoint/open.js'
import { readValues, type CheckpointTensor } from '../../model-tools/checkpoint/source.js'
import { bytesOf } from '../../model-tools/float.js'
import { quantizeQ8 } from '../../model-tools/quantize/q8.js'
import { gemma3Metadata, gemma4Metadata, ropeFrequencies, vocabularyMetadata } from '../../model-tools/synth/gguf-metadata.js'
import { writeGguf, type GgufMetadata } from '../../model-tools/synth/gguf-writer.js'
import type { StreamedTensor } from '../../model-tools/synth/stream.js'
import { GEMMA3_DIALECT } from '../../model-tools/synth/dialects.js'
import { syntheticVocabulary } from '../../model-tools/synth/vocabulary.js'
import { DEMO_MODEL } from './fixtures.js'

const PREFIX = 'model.language_model.'

export async function demoConfig (): Promise<ModelConfig> {
  const [config, generation] = await Promise.all(['config.json', 'generation_config.json'].map(async name => JSON.parse(await readFile(join(DEMO_MODEL, name), 'utf8')) as unknown))
  return gemma4.parseConfig(config, generation)
}

/** The demo model's vocabulary as llama.cpp's converter would write it. */
export async function demoVocabulary (): Promise<GgufMetadata> {
  const json = JSON.parse(await readFile(join(DEMO_MODEL, 'tokenizer.json'), 'utf8')) as {
    model: { vocab: Record<string, number>, merges: Array<[string, string]> }, added_tokens: Array<{ id: number, special: boolean }>
  }
  const tokens = Object.entries(json.model.vocab).sort(([, a], [, b]) => a - b).map(([token]) => token)
  const types = tokens.map((token): number => /^<0x[0-9A-F]{2}>$/.test(token) ? 6 : 1)
  for (const { id, special } of json.added_tokens) types[id] = special ? 3 : 1
  for (const visible of gemma4.gguf?.visibleControlTokens ?? []) types[tokens.indexOf(visible)] = 4
  return vocabularyMetadata({
    tokens, types, merges: json.model.merges.map(pair => pair.join(' ')), endOfTurn: '<turn|>', chatTemplate: await readFile(join(DEMO_MODEL, 'chat_template.jinja'), 'utf8')
  })
}

/** Matrices of these are quantised where `dtype` is a block format: the others are too small to be worth it. */
function isMatrix ({ shape, name }: CheckpointTensor): boolean {
  return shape.length > 1 && !name.includes('router')
}

export interface DemoGgufOptions {
  /** Of matrices; everything else is F32. */
  dtype: 'F32' | 'BF16' | 'Q8_0'
  /** Write the experts' gate and up matrices as two tensors. */
  split?: boolean
  /** Write the model as so many files `...-00001-of-0000n.gguf` beside `path`, as llama-gguf-split does. */
  parts?: number
  /** Only the tensors that a configuration is made from. */
  small?: boolean
  metadata?: (metadata: Record<string, GgufMetadata[string]>) => void
}

/** Encoded tensors of the demo model, made once: name and dtype -> bytes. */
const encodedTensors = new Map<string, Uint8Array>()

/** The demo model as a GGUF file, values out of its safetensors form. */
export async function writeDemoGguf (path: string, { dtype, split = false, parts = 1, small = false, metadata: change }: DemoGgufOptions): Promise<void> {
  const config = await demoConfig()
  const source = await openCheckpoint(DEMO_MODEL)
  const names = new Map(Object.entries(gemma4.gguf?.tensors ?? {}).map(([gguf, own]) => [own, gguf]))
  try {
    const tensors: StreamedTensor[] = [ropeFrequencies(config)]
    for (const tensor of source.tensors.values()) {
      const [layer] = /(?<=^model\.language_model\.layers\.)\d+/.exec(tensor.name) ?? ['']
      const own = tensor.name.slice(PREFIX.length)
      const name = (names.get(own.replace(/^layers\.\d+\./, 'layers.N.')) ?? own).replace('N', layer)
      if (small && name !== 'output_norm.weight') continue
      const type = isMatrix(tensor) ? dtype : 'F32'
      const values = async (): Promise<Float32Array> => readValues(source, tensor.name, 0, tensor.shape.reduce((a, b) => a * b, 1))
      if (split && name.includes('ffn_gate_up_exps')) {
        const [experts, rows, columns] = tensor.shape
        for (const [half, part] of ['ffn_gate_exps', 'ffn_up_exps'].entries()) {
          const halves = async (): Promise<Float32Array> => {
            const [all, taken] = [await values(), new Float32Array(experts * rows / 2 * columns)]
            for (let expert = 0; expert < experts; expert++) {
              const from = (expert * rows + half * rows / 2) * columns
              taken.set(all.subarray(from, from + rows / 2 * columns), expert * rows / 2 * columns)
            }
            return taken
          }
          tensors.push(await inMemory(name.replace('ffn_gate_up_exps', part), type, [experts, rows / 2, columns], halves))
        }
      } else {
        tensors.push(await inMemory(name, type, tensor.shape, values))
      }
    }
    const metadata = { ...gemma4Metadata(config, 'demo'), ...await demoVocabulary() }
    change?.(metadata)
    if (parts === 1) return await writeGguf(path, metadata, tensors)
    for (const [part, name] of ggufParts(path.replace(/\.gguf$/, `-00001-of-0000${parts}.gguf`)).entries()) {
      const place: GgufMetadata = { 'split.no': { type: 'u32', value: part }, 'split.count': { type: 'u32', value: parts }, 'split.tensors.count': { type: 'i32', value: tensors.length } }
      const share = tensors.filter((_, i) => Math.floor(i * parts / tensors.length) === part)
      await writeGguf(name, part === 0 ? { ...metadata, ...place } : place, share)
    }
  } finally {
    await source.close()
  }
}

/** A Gemma 3 checkpoint as llama.cpp's converter writes it in F32: norms with 1 added. */
export async function writeGemma3Gguf (checkpoint: string, path: string): Promise<void> {
  const source = await openCheckpoint(checkpoint)
  const [config, generation] = await Promise.all(['config.json', 'generation_config.json'].map(async name => JSON.parse(await readFile(join(checkpoint, name), 'utf8')) as unknown))
  const parsed = gemma3.parseConfig(config, generation)
  const names = new Map(Object.entries(gemma3.gguf?.tensors ?? {}).map(([gguf, own]) => [own, gguf]))
  try {
    const tensors: StreamedTensor[] = []
    for (const { name, shape } of source.tensors.values()) {
      const own = name.slice(gemma3.prefixes[0].length)
      const [, layer = ''] = /^layers\.(\d+)\./.exec(own) ?? []
      const values = await readValues(source, name, 0, shape.reduce((a, b) => a * b, 1))
      const bytes = bytesOf(own.endsWith('norm.weight') ? values.map(value => 1 + value) : values)
      tensors.push({ name: names.get(own.replace(/^layers\.\d+\./, 'layers.N.'))!.replace('N', layer), dtype: 'F32', shape, bytes: bytes.length, read: async (offset, length) => bytes.subarray(offset, offset + length) })
    }
    const sampling = parsed.sampling
    await writeGguf(path, {
      ...gemma3Metadata(parsed, 'tiny'), ...vocabularyMetadata(syntheticVocabulary(parsed.vocabSize, GEMMA3_DIALECT), 'llama'),
      'general.sampling.temp': { type: 'f32', value: sampling.temperature }, 'general.sampling.top_k': { type: 'i32', value: sampling.topK }, 'general.sampling.top_p': { type: 'f32', value: sampling.topP }
    }, tensors)
  } finally {
    await source.close()
  }
}

async function inMemory (name: string, dtype: 'F32' | 'BF16' | 'Q8_0', shape: number[], values: () => Promise<Float32Array>): Promise<StreamedTensor> {
  const bytes = encodedTensors.get(`${name} ${dtype}`) ?? encode(dtype, await values())
  encodedTensors.set(`${name} ${dtype}`, bytes)
  return { name, dtype, shape, bytes: bytes.length, read: async (offset, length) => bytes.subarray(offset, offset + length) }
}

function encode (dtype: 'F32' | 'BF16' | 'Q8_0', values: Float32Array): Uint8Array {
  if (dtype === 'F32') return bytesOf(values)
  // The demo model is stored in BF16, so cutting off is exact.
  if (dtype === 'BF16') return bytesOf(Uint16Array.from(new Uint32Array(values.buffer, values.byteOffset, values.length), bits => bits >>> 16))
  const { data, scales } = quantizeQ8(values)
  const bytes = new Uint8Array(scales.length * 34)
  const view = new DataView(bytes.buffer)
  for (const [block, scale] of scales.entries()) {
    view.setUint16(block * 34, scale, true)
    for (let i = 0; i < 32; i++) view.setInt8(block * 34 + 2 + i, data[block * 32 + i] - 128)
  }
  return bytes
}
