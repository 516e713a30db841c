import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { readGgufHeader, type GgufHeader } from '../../../model-tools/checkpoint/gguf-header.js'
import { localFolder } from '../../../model-tools/checkpoint/folder.js'
import { openGguf } from '../../../model-tools/checkpoint/gguf.js'
import type { ModelErrorCode } from '../../../model-tools/errors.js'
import { modelError, temporaryDirectory } from '../fixtures.js'

const u8 = (value: number): Buffer => Buffer.from([value])
const u32 = (value: number): Buffer => Buffer.from(Uint32Array.of(value).buffer)
const u64 = (value: number | bigint): Buffer => Buffer.from(BigUint64Array.of(BigInt(value)).buffer)
const f32 = (value: number): Buffer => Buffer.from(Float32Array.of(value).buffer)
const text = (value: string): Buffer => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)])
const pair = (key: string, type: number, ...value: Buffer[]): Buffer => Buffer.concat([text(key), u32(type), ...value])
/** Sizes with the innermost first, as files have them. */
const tensor = (name: string, sizes: Array<number | bigint>, type: number, offset: number | bigint): Buffer =>
  Buffer.concat([text(name), u32(sizes.length), ...sizes.map(u64), u32(type), u64(offset)])

interface Parts {
  magic?: string
  version?: number
  tensorCount?: number | bigint
  pairCount?: number | bigint
  pairs?: Buffer[]
  tensors?: Buffer[]
  data?: number
  alignment?: number
}

function file ({ magic = 'GGUF', version = 3, pairs = [], tensors = [], tensorCount = tensors.length, pairCount = pairs.length, data = 0, alignment = 32 }: Parts): Buffer {
  const header = Buffer.concat([Buffer.from(magic), u32(version), u64(tensorCount), u64(pairCount), ...pairs, ...tensors])
  return Buffer.concat([header, Buffer.alloc((alignment - header.length % alignment) % alignment), Buffer.alloc(data)])
}

async function parse (bytes: Buffer): Promise<GgufHeader> {
  let read = 0
  const header = await readGgufHeader('x.gguf', bytes.length, async (position, length) => {
    assert.ok(position + length <= bytes.length, 'reads past the end of the file')
    read += length
    assert.ok(read <= 2 * bytes.length + 1_000_000, 'reads more than the file')
    return Uint8Array.from(bytes.subarray(position, position + length))
  })
  return header
}

describe('checkpoint/gguf-header', () => {
  const temporary = temporaryDirectory()

  for (const version of [2, 3]) {
    it(`reads every kind of metadata of version ${version}`, async () => {
      const { metadata, tensors, dataStart } = await parse(file({
        version,
        pairs: [
          pair('a.u8', 0, u8(200)), pair('a.i8', 1, u8(200)), pair('a.u16', 2, Buffer.from([1, 255])), pair('a.i16', 3, Buffer.from([1, 255])),
          pair('a.u32', 4, u32(4e9)), pair('a.i32', 5, u32(4_294_967_295)), pair('a.f32', 6, f32(1e-6)), pair('a.bool', 7, u8(1)), pair('a.string', 8, text('héllo')),
          pair('a.strings', 9, u32(8), u64(2), text('x'), text('')), pair('a.none', 9, u32(4), u64(0)), pair('a.bools', 9, u32(7), u64(2), u8(0), u8(1)),
          pair('a.u64', 10, u64(2 ** 40)), pair('a.i64', 11, u64(0xffff_ffff_ffff_fffen)), pair('a.f64', 12, Buffer.from(Float64Array.of(0.1).buffer)),
          pair('__proto__', 4, u32(7)), pair('general.alignment', 4, u32(64))
        ],
        tensors: [tensor('b', [256, 3], 12, 64), tensor('a', [5], 0, 0)],
        data: 64 + 3 * 144, alignment: 64
      }))
      assert.deepEqual(Object.fromEntries(metadata), Object.fromEntries<unknown>([
        ['a.u8', 200], ['a.i8', -56], ['a.u16', 65281], ['a.i16', -255], ['a.u32', 4e9], ['a.i32', -1], ['a.f32', 1e-6], ['a.bool', true], ['a.string', 'héllo'],
        ['a.strings', ['x', '']], ['a.none', []], ['a.bools', [false, true]], ['a.u64', 2 ** 40], ['a.i64', -2], ['a.f64', 0.1], ['__proto__', 7], ['general.alignment', 64]
      ]))
      assert.equal(dataStart % 64, 0)
      assert.deepEqual(tensors.get('b'), { name: 'b', dtype: 'Q4_K', shape: [3, 256], bytes: 432, offset: 64 })
      assert.deepEqual(tensors.get('a'), { name: 'a', dtype: 'F32', shape: [5], bytes: 20, offset: 0 })
    })
  }

  it('reads a header of several windows', async () => {
    const words = Array.from({ length: 200_000 }, (_, i) => `token ${i}`)
    const { metadata } = await parse(file({ pairs: [pair('t', 9, u32(8), u64(words.length), Buffer.concat(words.map(text))), pair('n', 4, u32(5))] }))
    assert.deepEqual(metadata.get('t'), words)
    assert.equal(metadata.get('n'), 5)
  })

  const one = [tensor('a', [4], 0, 0)]
  const damaged: Array<[string, Buffer, ModelErrorCode, string[]]> = [
    ['an empty file', Buffer.alloc(0), 'malformed', ['truncated']],
    ['another kind of file', file({ magic: 'GGML' }), 'malformed', ['does not start with "GGUF"']],
    ['version 1', file({ version: 1 }), 'unsupported', ['version 1', '2 and 3']],
    ['a later version', file({ version: 4 }), 'unsupported', ['version 4']],
    ['a big-endian file', file({ version: 0x0300_0000 }), 'unsupported', ['big-endian']],
    ['an absurd count of tensors', file({ tensorCount: 2 ** 40 }), 'malformed', ['tensors', 'truncated']],
    ['a count that no number holds', file({ tensorCount: 2n ** 63n }), 'malformed', ['number of tensors']],
    ['an absurd count of keys', file({ pairCount: 2 ** 30 }), 'malformed', ['metadata keys']],
    ['a key of absurd length', file({ pairs: [Buffer.concat([u64(2 ** 50), u32(0), u32(0)])] }), 'malformed', ['a metadata key']],
    ['a string longer than the file', file({ pairs: [pair('k', 8, u64(10_000_000))] }), 'malformed', ['truncated']],
    ['a string over the bound', file({ pairs: [pair('k', 8, u64(2 ** 33))] }), 'malformed', ['for k']],
    ['an array longer than the file', file({ pairs: [pair('k', 9, u32(4), u64(2 ** 31))] }), 'malformed', ['values of k']],
    ['an array of arrays', file({ pairs: [pair('k', 9, u32(9), u64(1), u32(4), u64(0))] }), 'malformed', ['array of type 9 in k']],
    ['an unknown type of value', file({ pairs: [pair('k', 13, u32(0))] }), 'malformed', ['unknown type 13 in k']],
    ['a truth of 2', file({ pairs: [pair('k', 7, u8(2))] }), 'malformed', ['2 for k']],
    ['a 64-bit number that no number holds', file({ pairs: [pair('k', 11, u64(2n ** 62n))] }), 'malformed', ['k']],
    ['a key twice', file({ pairs: [pair('k', 7, u8(1)), pair('k', 7, u8(1))] }), 'malformed', ['k twice']],
    ['a file that ends in a tensor\'s description', file({ tensors: one, data: 16 }).subarray(0, 40), 'malformed', ['truncated']],
    ['five dimensions', file({ tensors: [tensor('a', [1, 1, 1, 1, 4], 0, 0)], data: 16 }), 'malformed', ['tensor a', '5 dimensions']],
    ['a size of zero', file({ tensors: [tensor('a', [0], 0, 0)] }), 'malformed', ['tensor a', '[0]']],
    ['a product that overflows', file({ tensors: [tensor('a', [2 ** 30, 2 ** 30], 0, 0)] }), 'malformed', ['tensor a', 'impossible shape']],
    ['rows that blocks do not divide', file({ tensors: [tensor('a', [48, 2], 2, 0)], data: 64 }), 'malformed', ['tensor a', 'rows of 48', 'Q4_0']],
    ['a known type that cannot be read', file({ tensors: [tensor('a', [256], 10, 0)], data: 84 }), 'unsupported', ['tensor a', 'Q2_K']],
    ['an unknown type', file({ tensors: [tensor('a', [256], 99, 0)], data: 84 }), 'unsupported', ['tensor a', 'type 99']],
    ['a tensor twice', file({ tensors: [tensor('a', [8], 0, 0), tensor('a', [8], 0, 32)], data: 64 }), 'malformed', ['twice']],
    ['an offset outside of the file', file({ tensors: [tensor('a', [8], 0, 2 ** 40)], data: 32 }), 'malformed', ['tensor a']],
    ['an offset that no number holds', file({ tensors: [tensor('a', [8], 0, 2n ** 60n)], data: 32 }), 'malformed', ['offset of tensor a']],
    ['truncated data', file({ tensors: [tensor('a', [8], 0, 0)], data: 31 }), 'malformed', ['tensor a', 'truncated']],
    ['an overlap', file({ tensors: [tensor('a', [16], 0, 0), tensor('b', [8], 0, 32)], data: 64 }), 'malformed', ['tensor b', 'byte 32', '64 is due']],
    ['a hole', file({ tensors: [tensor('a', [8], 0, 0), tensor('b', [8], 0, 64)], data: 96 }), 'malformed', ['tensor b', 'byte 64', '32 is due']],
    ['an alignment of 24', file({ pairs: [pair('general.alignment', 4, u32(24))], tensors: one, data: 16 }), 'malformed', ['general.alignment 24']],
    ['an alignment of text', file({ pairs: [pair('general.alignment', 8, text('32'))], tensors: one, data: 16 }), 'malformed', ['general.alignment']]
  ]
  for (const [what, bytes, code, says] of damaged) {
    it(`refuses ${what}`, async () => { await assert.rejects(parse(bytes), modelError(code, 'x.gguf', ...says)) })
  }

  it('refuses every file that ends too early', async () => {
    const whole = file({ pairs: [pair('k', 9, u32(8), u64(2), text('one'), text('two')), pair('n', 4, u32(1))], tensors: [tensor('a', [4, 2], 0, 0)], data: 32 })
    await assert.doesNotReject(parse(whole))
    for (let length = 0; length < whole.length; length++) await assert.rejects(parse(whole.subarray(0, length)), modelError('malformed', 'truncated'), `${length}`)
  })

  it('names a file that cannot be opened or is damaged', async () => {
    await assert.rejects(openGguf(localFolder('/nowhere'), 'model.gguf'), modelError('not-found', '/nowhere/model.gguf'))
    const path = `${temporary.path}/damaged.gguf`
    await writeFile(path, 'GGUF')
    await assert.rejects(openGguf(localFolder(temporary.path), 'damaged.gguf'), modelError('malformed', path))
  })
})
