import assert from 'node:assert/strict'
import { mkdir, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openCheckpoint } from '../../../model-tools/checkpoint/open.js'
import { readValues } from '../../../model-tools/checkpoint/source.js'
import type { ModelErrorCode } from '../../../model-tools/errors.js'
import { DEMO_MODEL, modelError, readSafetensors, safetensorsBytes, temporaryDirectory, writeSafetensors, type RawTensor } from '../fixtures.js'

const u16 = (...values: number[]): Uint8Array => new Uint8Array(Uint16Array.from(values).buffer)
const f32 = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer)

describe('checkpoint/safetensors', () => {
  const temporary = temporaryDirectory()

  async function directory (files: Record<string, Uint8Array | string>): Promise<string> {
    const dir = temporary.sub('checkpoint')
    await mkdir(dir)
    for (const [name, content] of Object.entries(files)) await writeFile(join(dir, name), content)
    return dir
  }

  it('reads ranges of F32, BF16 and F16 as values', async () => {
    const dir = temporary.sub('dtypes')
    await mkdir(dir)
    await writeSafetensors(join(dir, 'model.safetensors'), new Map<string, RawTensor>([
      // One byte in front moves every other tensor to an odd address.
      ['odd', { dtype: 'U8', shape: [1], data: new Uint8Array([9]) }],
      ['single', { dtype: 'F32', shape: [2, 2], data: f32(1, -2, 0.5, 1e-3) }],
      ['brain', { dtype: 'BF16', shape: [3], data: u16(0x3f80, 0xc000, 0x3e80) }],
      ['half', { dtype: 'F16', shape: [], data: u16(0x3c00) }]
    ]))
    const source = await openCheckpoint(dir)
    try {
      assert.deepEqual(source.tensors.get('single'), { name: 'single', dtype: 'F32', shape: [2, 2], bytes: 16, offset: 1 })
      assert.deepEqual(await readValues(source, 'single', 1, 2), Float32Array.of(-2, 0.5))
      assert.deepEqual(await readValues(source, 'brain', 0, 3), Float32Array.of(1, -2, 0.25))
      assert.deepEqual(await readValues(source, 'half', 0, 1), Float32Array.of(1))
      await assert.rejects(readValues(source, 'odd', 0, 1), modelError('unsupported', 'odd', 'U8'))
      await assert.rejects(readValues(source, 'absent', 0, 1), modelError('missing-tensor', 'absent'))
      await assert.rejects(source.read('single', 12, 8), RangeError)
    } finally {
      await source.close()
    }
  })

  it('reads a sharded checkpoint as it reads a single file', async () => {
    const tensors = [...await readSafetensors(join(DEMO_MODEL, 'model.safetensors'))].slice(0, 40)
    const dir = temporary.sub('sharded')
    await mkdir(dir)
    const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    await writeSafetensors(join(dir, shards[0]), new Map(tensors.slice(0, 25)))
    await writeSafetensors(join(dir, shards[1]), new Map(tensors.slice(25)))
    const map = Object.fromEntries(tensors.map(([name], index) => [name, shards[index < 25 ? 0 : 1]]))
    await writeFile(join(dir, 'model.safetensors.index.json'), JSON.stringify({ metadata: { total_size: 1 }, weight_map: map }))
    const source = await openCheckpoint(dir)
    try {
      assert.deepEqual([...source.tensors.keys()], tensors.map(([name]) => name))
      for (const [name, { data, shape }] of tensors) {
        assert.deepEqual(source.tensors.get(name)?.shape, shape)
        assert.deepEqual(Buffer.from(await source.read(name, 0, data.length)), Buffer.from(data), name)
      }
    } finally {
      await source.close()
    }
  })

  it('names a path that is wrong', async () => {
    await assert.rejects(openCheckpoint('/nowhere/model'), modelError('not-found', '/nowhere/model'))
    await assert.rejects(openCheckpoint(join(DEMO_MODEL, 'config.json')), modelError('not-found', 'config.json', 'is a file'))
    const empty = await directory({})
    await assert.rejects(openCheckpoint(empty), modelError('not-found', empty, 'model.safetensors'))
  })

  const entry = (dtype: string, shape: unknown, offsets: unknown): unknown => ({ dtype, shape, data_offsets: offsets })
  const damaged: Array<[string, Uint8Array, string]> = [
    ['an empty file', new Uint8Array(0), 'truncated'],
    ['a file that ends in the header\'s length', new Uint8Array(5), 'truncated'],
    ['a header longer than the file', safetensorsBytes({ a: entry('F32', [1], [0, 4]) }, f32(1)).subarray(0, 20), 'truncated'],
    ['a header of absurd length', Buffer.from('ffffffffffffff7f7b7d', 'hex'), 'announces a header'],
    ['a header over the bound in a file that is long enough', Buffer.concat([Buffer.from('01e1f50500000000', 'hex'), Buffer.alloc(100_000_010, 32)]), 'announces a header'],
    ['a header that is no JSON', safetensorsBytes('{"a":', new Uint8Array(0)), 'not valid JSON'],
    ['a header that is a list', safetensorsBytes([], new Uint8Array(0)), 'must be a JSON object'],
    ['a tensor that is no object', safetensorsBytes({ a: 3 }, new Uint8Array(0)), 'must be a JSON object'],
    ['a missing dtype', safetensorsBytes({ a: { shape: [1], data_offsets: [0, 4] } }, f32(1)), '"dtype"'],
    ['a negative size', safetensorsBytes({ a: entry('F32', [-1], [0, 4]) }, f32(1)), '"shape"'],
    ['a fractional size', safetensorsBytes({ a: entry('F32', [0.5], [0, 2]) }, f32(1)), '"shape"'],
    ['a product that overflows', safetensorsBytes({ a: entry('F32', [2 ** 40, 2 ** 40], [0, 4]) }, f32(1)), 'must span'],
    ['offsets that run backwards', safetensorsBytes({ a: entry('F32', [1], [4, 0]) }, f32(1)), '"data_offsets"'],
    ['one offset', safetensorsBytes({ a: entry('F32', [1], [0]) }, f32(1)), '"data_offsets"'],
    ['truncated data', safetensorsBytes({ a: entry('F32', [4], [0, 16]) }, f32(1, 2, 3)), 'truncated'],
    ['a size that does not fit the shape', safetensorsBytes({ a: entry('F32', [2], [0, 4]) }, f32(1)), 'must span the 8 bytes'],
    ['a hole', safetensorsBytes({ a: entry('F32', [1], [0, 4]), b: entry('F32', [1], [8, 12]) }, f32(1, 2, 3)), 'where 4 is due'],
    ['an overlap', safetensorsBytes({ a: entry('F32', [2], [0, 8]), b: entry('F32', [2], [4, 12]) }, f32(1, 2, 3)), 'where 8 is due'],
    ['bytes behind the last tensor', safetensorsBytes({ a: entry('F32', [1], [0, 4]) }, f32(1, 2)), 'its header describes 4']
  ]
  for (const [what, bytes, says] of damaged) {
    it(`refuses ${what}`, async () => {
      const dir = await directory({ 'model.safetensors': bytes })
      await assert.rejects(openCheckpoint(dir), modelError('malformed', join(dir, 'model.safetensors'), says))
    })
  }

  const shard = safetensorsBytes({ a: entry('F32', [1], [0, 4]) }, f32(1))
  const indexes: Array<[string, string, ModelErrorCode, string]> = [
    ['no JSON', '{"weight_map"', 'malformed', 'not valid JSON'],
    ['no weight_map', '{}', 'malformed', 'weight_map'],
    ['a file that is not there', '{"weight_map":{"a":"one.safetensors","b":"two.safetensors"}}', 'not-found', 'two.safetensors'],
    ['a tensor that its file does not hold', '{"weight_map":{"a":"one.safetensors","b":"one.safetensors"}}', 'malformed', 'places tensor b in one.safetensors'],
    ['a path out of the directory', '{"weight_map":{"a":"../one.safetensors"}}', 'malformed', '../one.safetensors'],
    ['a file that is no string', '{"weight_map":{"a":7}}', 'malformed', '"a"']
  ]
  for (const [what, index, code, says] of indexes) {
    it(`refuses an index with ${what}`, async () => {
      const dir = await directory({ 'one.safetensors': shard, 'model.safetensors.index.json': index })
      await assert.rejects(openCheckpoint(dir), modelError(code, 'model.safetensors.index.json', says))
    })
  }

  it('notices a file that shrinks after it was opened', async () => {
    const dir = await directory({ 'model.safetensors': safetensorsBytes({ a: entry('F32', [4], [0, 16]) }, f32(1, 2, 3, 4)) })
    const source = await openCheckpoint(dir)
    try {
      await truncate(join(dir, 'model.safetensors'), 70)
      await assert.rejects(source.read('a', 0, 16), modelError('malformed', 'model.safetensors', 'truncated'))
    } finally {
      await source.close()
    }
  })
})
