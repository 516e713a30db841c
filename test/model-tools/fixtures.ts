import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { ModelError, type ModelErrorCode } from '../../model-tools/errors.js'

/** Tests run from the repository's root, wherever the compiled files lie. */
export const DEMO_MODEL = resolve('model-tools/demo-model')
const TEXT_AND_CONFIG = ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja']

/** A directory of one suite's own, removed at its end. Call inside of `describe`; the value is known once tests run. */
export function temporaryDirectory (): { readonly path: string, sub: (name: string) => string } {
  let path = ''
  let made = 0
  before(async () => { path = await mkdtemp(join(tmpdir(), 'moeswarm-model-tools-')) })
  after(async () => rm(path, { recursive: true, force: true }))
  return {
    get path () { return path },
    /** A path in it that nobody has used. */
    sub: name => join(path, `${made++}-${name}`)
  }
}

/** File -> sha256 of everything below a directory. */
export async function contents (dir: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {}
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    files[path.slice(dir.length + 1)] = createHash('sha256').update(await readFile(path)).digest('hex')
  }
  return files
}

/** Values in [-1, 1), the same for the same seed. */
export function randomValues (count: number, seed: number): Float32Array {
  let state = seed >>> 0
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 31 - 1
  })
}

export interface RawTensor {
  dtype: string
  shape: number[]
  data: Uint8Array
}

/** Reads a safetensors file by the book, in memory. */
export async function readSafetensors (path: string): Promise<Map<string, RawTensor>> {
  const bytes = await readFile(path)
  const headerBytes = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<string, { dtype: string, shape: number[], data_offsets: [number, number] }>
  const start = 8 + headerBytes
  return new Map(Object.entries(header).filter(([name]) => name !== '__metadata__').map(([name, { dtype, shape, data_offsets: [from, to] }]) =>
    [name, { dtype, shape, data: bytes.subarray(start + from, start + to) }]))
}

export async function writeSafetensors (path: string, tensors: Map<string, RawTensor>): Promise<void> {
  const header: Record<string, unknown> = {}
  let offset = 0
  for (const [name, { dtype, shape, data }] of tensors) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.length] }
    offset += data.length
  }
  await writeFile(path, safetensorsBytes(header, Buffer.concat([...tensors.values()].map(({ data }) => data))))
}

/** A file with any header, right or wrong. */
export function safetensorsBytes (header: unknown, data: Uint8Array): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  return Buffer.concat([length, json, data])
}

export interface CheckpointChanges {
  /** Applied to the parsed config.json. */
  config?: (config: Record<string, unknown> & { text_config: Record<string, unknown> }) => void
  /** Applied to the tensors before they are written. */
  tensors?: (tensors: Map<string, RawTensor>) => void
}

/** A copy of the demo checkpoint with changes. */
export async function changedCheckpoint (dir: string, { config: changeConfig, tensors: changeTensors }: CheckpointChanges = {}): Promise<string> {
  await mkdir(dir, { recursive: true })
  for (const name of TEXT_AND_CONFIG) await cp(join(DEMO_MODEL, name), join(dir, name))
  const path = join(dir, 'config.json')
  const config = JSON.parse(await readFile(path, 'utf8')) as Parameters<NonNullable<CheckpointChanges['config']>>[0]
  changeConfig?.(config)
  await writeFile(path, JSON.stringify(config))
  const tensors = await readSafetensors(join(DEMO_MODEL, 'model.safetensors'))
  changeTensors?.(tensors)
  await writeSafetensors(join(dir, 'model.safetensors'), tensors)
  return dir
}

/** For assert.rejects and assert.throws: a ModelError of this code whose message says all of this. */
export function modelError (code: ModelErrorCode, ...says: string[]): (error: unknown) => true {
  return error => {
    assert.ok(error instanceof ModelError, `expected a ModelError, not ${String(error)}`)
    assert.equal(error.code, code, error.message)
    for (const part of says) assert.ok(error.message.includes(part), `"${error.message}" does not say "${part}"`)
    return true
  }
}
