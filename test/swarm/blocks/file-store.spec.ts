import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FileStore } from '../../../swarm/blocks/file-store.js'
import type { ContentFile } from '../../../swarm/blocks/interface.js'
import { BLOCK_CHUNK_BYTES } from '../../../swarm/constants.js'
import { isSwarmError } from '../../../swarm/errors.js'
import { contentOf } from '../fixtures/contents.js'

const MODEL_ID = 'cd'.repeat(32)
const BIG = contentOf('experts/a.bin', 2 * BLOCK_CHUNK_BYTES + 99)
const SMALL = contentOf('b.txt', 5)
const EMPTY = contentOf('text/empty.txt', 0)
const ALL = [BIG, SMALL, EMPTY]

const chunkOf = (contents: Uint8Array, chunk: number): Uint8Array => contents.subarray(chunk * BLOCK_CHUNK_BYTES, (chunk + 1) * BLOCK_CHUNK_BYTES)

describe('file store', () => {
  let dir: string
  beforeEach(async () => { dir = await mkdtemp(join(tmpdir(), 'moeswarm-store-')) })
  afterEach(async () => { await rm(dir, { recursive: true }) })

  const open = async (files: ContentFile[] = ALL.map(({ file }) => file)): Promise<FileStore> =>
    await FileStore.open({ dir: join(dir, 'bundle'), modelId: MODEL_ID, manifest: new Uint8Array(1), files })
  const write = async (path: string, bytes: Uint8Array): Promise<void> => {
    await mkdir(join(dir, 'bundle', path, '..'), { recursive: true })
    await writeFile(join(dir, 'bundle', path), bytes)
  }

  it('writes files chunk by chunk, in any order, and then serves them', async () => {
    const store = await open()
    for (const { file, contents } of ALL) {
      const sink = await store.open(file)
      assert.ok(sink.have.every(have => have === 0))
      await Promise.all([...file.chunks.keys()].reverse().map(async chunk => { await sink.write(chunk, chunkOf(contents, chunk)) }))
      assert.equal(store.bytesOf(file.sha256), undefined)
      await sink.finish()
      await sink.close()
      assert.equal(store.bytesOf(file.sha256), file.bytes)
      assert.ok(Buffer.from(contents).equals(await readFile(join(dir, 'bundle', file.path))))
    }
    assert.deepEqual(await store.read(BIG.file.sha256, BLOCK_CHUNK_BYTES, 1_000), BIG.contents.slice(BLOCK_CHUNK_BYTES, BLOCK_CHUNK_BYTES + 1_000))
    assert.deepEqual((await readdir(join(dir, 'bundle', 'experts'))), ['a.bin'])
  })

  it('serves what is there when it is opened, and has nothing to fetch of it', async () => {
    for (const { file, contents } of ALL) await write(file.path, contents)
    const store = await open()
    for (const { file } of ALL) {
      assert.equal(store.bytesOf(file.sha256), file.bytes)
      assert.ok((await store.open(file)).have.every(have => have === 1))
    }
  })

  it('goes on after a break with the chunks that are right', async () => {
    const before = await (await open()).open(BIG.file)
    await before.write(1, chunkOf(BIG.contents, 1))
    await before.close()
    const again = await open()
    assert.equal(again.bytesOf(BIG.file.sha256), undefined)
    const sink = await again.open(BIG.file)
    assert.deepEqual([...sink.have], [0, 1, 0])
    for (const chunk of [0, 2]) await sink.write(chunk, chunkOf(BIG.contents, chunk))
    await sink.finish()
    assert.ok(Buffer.from(BIG.contents).equals(await readFile(join(dir, 'bundle', BIG.file.path))))
  })

  for (const { id, partial, have } of [
    { id: 'torn in the middle of a chunk', partial: BIG.contents.subarray(0, BLOCK_CHUNK_BYTES + 7), have: [1, 0, 0] },
    { id: 'with a flipped byte', partial: BIG.contents.map((byte, at) => at === 5 ? byte ^ 1 : byte), have: [0, 1, 1] },
    { id: 'of something longer', partial: Buffer.concat([BIG.contents, Buffer.alloc(BLOCK_CHUNK_BYTES)]), have: [1, 1, 1] }
  ]) {
    it(`believes no partial file, as one ${id}`, async () => {
      await write(`${BIG.file.path}.partial`, partial)
      const sink = await (await open()).open(BIG.file)
      assert.deepEqual([...sink.have], have)
      for (const [chunk, there] of have.entries()) {
        if (there === 0) await sink.write(chunk, chunkOf(BIG.contents, chunk))
      }
      await sink.finish()
      assert.ok(Buffer.from(BIG.contents).equals(await readFile(join(dir, 'bundle', BIG.file.path))))
    })
  }

  for (const { id, contents } of [
    { id: 'of another size', contents: BIG.contents.subarray(1) },
    { id: 'that begins otherwise', contents: BIG.contents.map((byte, at) => at === 0 ? byte ^ 1 : byte) },
    { id: 'that ends otherwise', contents: BIG.contents.map((byte, at) => at === BIG.file.bytes - 1 ? byte ^ 1 : byte) }
  ]) {
    it(`does not serve another bundle's file ${id}`, async () => {
      await write(BIG.file.path, contents)
      const store = await open()
      assert.equal(store.bytesOf(BIG.file.sha256), undefined)
      assert.deepEqual([...(await store.open(BIG.file)).have], [0, 0, 0])
    })
  }

  it('stops serving a file that cannot be read any more', async () => {
    await write(BIG.file.path, BIG.contents)
    const store = await open()
    await rm(join(dir, 'bundle', BIG.file.path))
    await assert.rejects(store.read(BIG.file.sha256, 0, 10), error => isSwarmError(error, 'disk-failed') && error.data.path === BIG.file.path)
    assert.equal(store.bytesOf(BIG.file.sha256), undefined)
  })

  it('says how much room is missing before it begins', async () => {
    const store = await open()
    await store.expect(1)
    await assert.rejects(store.expect(2 ** 60), error => isSwarmError(error, 'disk-full') && error.data.missingBytes > 2 ** 59)
  })

  it('says that the disk is full in the middle, and leaves no file', async function () {
    if (process.platform !== 'linux') this.skip()
    const store = await open()
    await mkdir(join(dir, 'bundle', 'experts'), { recursive: true })
    await symlink('/dev/full', join(dir, 'bundle', `${BIG.file.path}.partial`))
    const sink = await store.open(BIG.file)
    await assert.rejects(sink.write(0, chunkOf(BIG.contents, 0)), error => isSwarmError(error, 'disk-full') && error.data.missingBytes >= 1 && error.data.path === BIG.file.path)
    await sink.close()
    await assert.rejects(stat(join(dir, 'bundle', BIG.file.path)))
  })

  it('says which path cannot be written', async () => {
    await write('experts', Buffer.of(1))
    const store = await open([SMALL.file])
    await assert.rejects(store.open(BIG.file), error => isSwarmError(error, 'disk-failed') && error.message.includes('ENOTDIR'))
  })

  it('opens no path outside of its directory', async () => {
    await assert.rejects(open([{ ...SMALL.file, path: '../b.txt' }]), error => isSwarmError(error, 'bad-argument'))
  })
})
