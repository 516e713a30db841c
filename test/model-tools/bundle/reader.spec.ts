import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { cp, mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { canonicalJson } from '../../../model-tools/bundle/canonical-json.js'
import { TENSOR_ALIGNMENT, type BundleManifest } from '../../../model-tools/bundle/manifest.js'
import { Bundle, type VerifyProgress } from '../../../model-tools/bundle/reader.js'
import { convertCheckpoint } from '../../../model-tools/bundle/writer.js'
import { DEMO_MODEL, modelError, temporaryDirectory } from '../fixtures.js'

/** A manifest as a liar would write it: any field may be anything. */
type Forged = { [key: string]: Forged } & Forged[]

describe('bundle/reader', () => {
  const temporary = temporaryDirectory()
  let whole: string
  let manifest: string

  before(async () => {
    whole = temporary.sub('whole')
    await convertCheckpoint({ checkpoint: DEMO_MODEL, out: whole, quant: 'q4' })
    manifest = await readFile(join(whole, 'manifest.json'), 'utf8')
  })

  async function copy (): Promise<string> {
    const dir = temporary.sub('copy')
    await cp(whole, dir, { recursive: true })
    return dir
  }

  async function withManifest (text: string): Promise<string> {
    const dir = temporary.sub('manifest')
    await mkdir(dir)
    await writeFile(join(dir, 'manifest.json'), text)
    return dir
  }

  it('opens what the writer wrote', async () => {
    const bundle = await Bundle.open(whole)
    assert.equal(bundle.id, createHash('sha256').update(manifest).digest('hex'))
    assert.equal(bundle.config.layerTypes.length, 6)
    assert.equal(bundle.blocks.length, 12)
    assert.deepEqual(bundle.blocks[3], { layer: 1, firstExpert: 16, experts: 16, file: 'experts/layer-01/016-031.bin' })
    assert.equal(bundle.path('client/final.bin'), join(whole, 'client/final.bin'))
    assert.deepEqual(bundle.clientFiles().sort(), [
      'client/embedding.bin', 'client/final.bin', ...[0, 1, 2, 3, 4, 5].map(layer => `client/layer-0${layer}.bin`),
      'text/chat_template.jinja', 'text/tokenizer.json', 'text/tokenizer_config.json'
    ])
    await bundle.verify()
  })

  it('keeps the bytes of its manifest when that is parsed and written again', async () => {
    assert.equal(canonicalJson((await Bundle.open(whole)).manifest), manifest)
  })

  it('places every expert at page boundaries, in ascending order, up to the end of the file', async () => {
    const bundle = await Bundle.open(whole)
    for (const block of bundle.blocks) {
      let end = 0
      const experts = bundle.experts(block)
      assert.deepEqual(experts.map(({ expert }) => expert), Array.from({ length: block.experts }, (_, i) => block.firstExpert + i))
      for (const { gateUp, down } of experts) {
        assert.deepEqual([gateUp.shape, down.shape], [[128, 192], [192, 64]])
        for (const { file, offset, bytes, scales } of [gateUp, down]) {
          assert.equal(file, block.file)
          for (const part of [{ offset, bytes }, scales ?? assert.fail('q4 has scales')]) {
            assert.equal(part.offset % TENSOR_ALIGNMENT, 0)
            assert.ok(part.offset >= end)
            end = part.offset + part.bytes
          }
        }
      }
      assert.equal(end, bundle.manifest.files[block.file].bytes)
    }
  })

  it('is content with the client\'s files, or with a block, alone', async () => {
    const client = await copy()
    await rm(join(client, 'experts'), { recursive: true })
    const forClient = await Bundle.open(client)
    await forClient.verify(forClient.clientFiles())
    const [block] = forClient.blocks
    assert.equal(await forClient.has(block.file), false)
    await assert.rejects(forClient.verify(), modelError('not-found', block.file))
    await assert.rejects(forClient.verify([block.file]), modelError('not-found', block.file))
    await assert.rejects(forClient.read(forClient.experts(block)[0].gateUp), modelError('not-found', block.file))

    const peer = await copy()
    for (const name of ['client', 'text']) await rm(join(peer, name), { recursive: true })
    const forPeer = await Bundle.open(peer)
    await forPeer.verify([block.file])
    assert.equal((await forPeer.read(forPeer.experts(block)[0].down)).data.length, 192 * 64 / 2)
    assert.equal(forPeer.id, forClient.id)
  })

  it('names a file with other bytes than promised', async () => {
    const dir = await copy()
    const file = 'experts/layer-02/000-015.bin'
    const bytes = await readFile(join(dir, file))
    bytes[bytes.length >> 1] ^= 1
    await writeFile(join(dir, file), bytes)
    const bundle = await Bundle.open(dir)
    await assert.rejects(bundle.verify(), modelError('hash-mismatch', file, dir))
    await bundle.verify(bundle.clientFiles())
  })

  it('names a truncated file as soon as it opens', async () => {
    const dir = await copy()
    await truncate(join(dir, 'client/layer-04.bin'), 1000)
    await assert.rejects(Bundle.open(dir), modelError('hash-mismatch', 'client/layer-04.bin', '1000 bytes'))
  })

  it('notices a file that shrinks after it opened', async () => {
    const dir = await copy()
    const bundle = await Bundle.open(dir)
    await truncate(join(dir, 'client/embedding.bin'), 1000)
    await assert.rejects(bundle.read(bundle.tensor('embedding')), modelError('hash-mismatch', 'client/embedding.bin'))
    await assert.rejects(bundle.verify(), modelError('hash-mismatch', 'client/embedding.bin'))
  })

  it('reports progress of verification and can be stopped', async () => {
    const bundle = await Bundle.open(whole)
    const events: VerifyProgress[] = []
    await bundle.verify(undefined, { onProgress: event => events.push(event) })
    const last = events.at(-1)
    assert.ok(last != null && last.doneBytes === last.totalBytes)
    const abort = new AbortController()
    await assert.rejects(bundle.verify(undefined, { signal: abort.signal, onProgress: () => abort.abort(new Error('enough')) }), { message: 'enough' })
  })

  it('names a tensor and a file that it does not have', async () => {
    const bundle = await Bundle.open(whole)
    assert.throws(() => bundle.tensor('layers.6.qkv'), modelError('missing-tensor', 'layers.6.qkv'))
    await assert.rejects(bundle.verify(['constructor']), modelError('not-found', 'constructor'))
  })

  it('names a directory without a bundle', async () => {
    await assert.rejects(Bundle.open('/nowhere/bundle'), modelError('not-found', '/nowhere/bundle', 'moeswarm convert'))
    await assert.rejects(Bundle.open(DEMO_MODEL), modelError('not-found', DEMO_MODEL))
  })

  it('refuses a manifest that is truncated, or that somebody has formatted', async () => {
    await assert.rejects(Bundle.open(await withManifest(manifest.slice(0, -200))), modelError('malformed', 'manifest.json', 'not valid JSON'))
    await assert.rejects(Bundle.open(await withManifest(JSON.stringify(JSON.parse(manifest), null, 2))), modelError('malformed', 'not canonical'))
    await assert.rejects(Bundle.open(await withManifest(manifest.replace('"quant":"q4"', '"quant":"q8","quant":"q4"'))), modelError('malformed', 'not canonical'))
    await assert.rejects(Bundle.open(await withManifest('[]')), modelError('malformed', 'must be a JSON object'))
  })

  const qkv = 'layers.0.qkv'
  const block = 'experts/layer-00/000-015.bin'
  const rename = (from: string, to: string) => (forged: Forged): void => {
    forged.files[to] = forged.files[from]
    delete (forged.files as Record<string, unknown>)[from]
    const uses = [...Object.values(forged.tensors), ...forged.blocks] as unknown as Array<{ file: string }>
    for (const use of uses) if (use.file === from) use.file = to
  }
  const set = (path: string, value: unknown) => (forged: Forged): void => {
    const keys = path.split('/')
    const last = keys.pop() as string
    const target = keys.reduce((at: Forged, key) => at[key], forged) as unknown as Record<string, unknown>
    if (value === undefined) delete target[last]
    else target[last] = value
  }
  const forgeries: Array<[string, (forged: Forged) => void, string]> = [
    ['another version', set('format', 'moeswarm-bundle/2'), '"format" is "moeswarm-bundle/2"'],
    ['an unknown key', set('extra', 1), '"extra" is 1 and is not known'],
    ['an unknown architecture', set('config/architecture', 'constructor'), '"architecture"'],
    ['an unknown quant', set('quant', 'q5'), '"quant" is "q5"'],
    ['a block size of nothing', set('blockExperts', 0), '"blockExperts"'],
    ['a hidden size of text', set('config/hiddenSize', '192'), '"hiddenSize" is "192"'],
    ['an absurd vocabulary', set('config/vocabSize', 2 ** 40), '"vocabSize"'],
    ['more chosen experts than there are', set('config/topK', 33), '"topK"'],
    ['no layers', set('config/layerTypes', []), '"layerTypes"'],
    ['a layer of another type', set('config/layerTypes/0', 'chunked'), '"layerTypes"'],
    ['an end token outside of the vocabulary', set('config/eosTokenIds', [4096]), '"eosTokenIds"'],
    ['a missing field of the config', set('config/slidingWindow', undefined), '"slidingWindow"'],
    ['an unknown field of the config', set('config/attention/full/bias', true), '"bias"'],
    ['heads that do not share evenly', set('config/attention/sliding/kvHeads', 3), '"heads"'],
    ['a path that leaves the bundle', rename('client/final.bin', '../final.bin'), '"../final.bin"'],
    ['a path that leaves it from inside', rename('client/final.bin', 'client/../../final.bin'), '"client/../../final.bin"'],
    ['an absolute path', rename('client/final.bin', '/etc/passwd'), '"/etc/passwd"'],
    ['a path with back slashes', rename('client/final.bin', 'client/..\\..\\final.bin'), 'is no name'],
    ['a hidden file', rename('client/final.bin', 'client/.final.bin'), 'is no name'],
    ['the manifest itself', rename('client/final.bin', 'manifest.json'), 'is no name'],
    ['a key that objects have', rename('client/final.bin', '__proto__x'), 'is no name'],
    ['a digest in capitals', forged => { (forged.files[block] as unknown as { sha256: string }).sha256 = 'A'.repeat(64) }, '"sha256"'],
    ['a file that holds nothing', forged => { forged.files['client/more.bin'] = forged.files['client/final.bin'] }, 'client/more.bin holds no tensor'],
    ['a tensor too few', set(`tensors/${qkv}`, undefined), `"${qkv}"`],
    ['a tensor too many', forged => { forged.tensors['layers.9.qkv'] = forged.tensors[qkv] }, '"layers.9.qkv"'],
    ['a tensor of another shape', set(`tensors/${qkv}/shape`, [192, 256]), '"shape" is [192,256] and must be [256, 192]'],
    ['a tensor of another format', set(`tensors/${qkv}/format`, 'f16'), '"format" is "f16"'],
    ['a tensor of a block\'s file', set(`tensors/${qkv}/file`, block), '"file"'],
    ['a tensor of no file', set(`tensors/${qkv}/file`, 'client/none.bin'), '"file"'],
    ['an offset between pages', set(`tensors/${qkv}/offset`, 100), '"offset" is 100'],
    ['an offset past the file', set(`tensors/${qkv}/offset`, 4096 * 1000), 'reaches past'],
    ['a negative offset', set(`tensors/${qkv}/offset`, -4096), '"offset" is -4096'],
    ['too few bytes', set(`tensors/${qkv}/bytes`, 100), '"bytes" is 100'],
    ['scales past the file', set(`tensors/${qkv}/scales/offset`, 4096 * 1000), 'reaches past'],
    ['no scales', set(`tensors/${qkv}/scales`, undefined), '"scales"'],
    ['tensors that overlap', set(`tensors/${qkv}/offset`, 0), 'overlaps'],
    ['a hole between blocks', forged => { (forged.blocks as unknown[]).splice(1, 1) }, '"blocks" 1'],
    ['a block twice', forged => { (forged.blocks as unknown[]).splice(1, 0, forged.blocks[0]) }, '"blocks" 1'],
    ['a block too few at the end', forged => { (forged.blocks as unknown[]).pop() }, 'must cover all 32 experts of all 6 layers'],
    ['blocks past the last layer', forged => { (forged.blocks as unknown[]).push({ ...forged.blocks[0] as object, layer: 6 }) }, 'after the last of 6 layers'],
    ['a block past the last expert', set('blocks/1/experts', 17), '"experts" is 17'],
    ['a block of another layer\'s number', set('blocks/2/layer', 2), '"layer" is 2'],
    ['a block whose file has another size', forged => { (forged.files[block] as unknown as { bytes: number }).bytes -= 1 }, 'must have'],
    ['two blocks in one file', set('blocks/1/file', block), 'holds no tensor and no block']
  ]
  for (const [what, forge, says] of forgeries) {
    it(`refuses a manifest with ${what}`, async () => {
      const forged = JSON.parse(manifest) as Forged
      forge(forged)
      await assert.rejects(Bundle.open(await withManifest(canonicalJson(forged))), modelError('malformed', 'manifest.json', says))
    })
  }

  it('refuses a u4 manifest whose zero points are missing, of the wrong size, misplaced or where none belong', async () => {
    const dir = temporary.sub('u4')
    await convertCheckpoint({ checkpoint: DEMO_MODEL, out: dir, quant: 'u4', layers: 'none' })
    const text = await readFile(join(dir, 'manifest.json'), 'utf8')
    const { zeros } = (await Bundle.open(dir)).tensor(qkv)
    // 256 rows of three blocks of 64, two nibbles a byte.
    assert.equal(zeros?.bytes, 256 * 2)
    const refused: Array<[(forged: Forged) => void, string]> = [
      [set(`tensors/${qkv}/zeros`, undefined), '"zeros"'], [set(`tensors/${qkv}/zeros/bytes`, 384), '"bytes" is 384'], [set(`tensors/${qkv}/zeros/offset`, 100), '"offset" is 100'],
      [set(`tensors/${qkv}/zeros/offset`, 4096 * 1000), 'reaches past'], [set(`tensors/${qkv}/zeros/offset`, 0), 'overlaps'], [set('tensors/embedding/zeros', zeros), '"zeros"']
    ]
    for (const [forge, says] of refused) {
      const forged = JSON.parse(text) as Forged
      forge(forged)
      await assert.rejects(Bundle.open(await withManifest(canonicalJson(forged))), modelError('malformed', 'manifest.json', says))
    }
  })
})

describe('bundle/canonical-json', () => {
  const cases: Array<[unknown, string]> = [
    [{ b: 1, a: [true, null, 'x"'] }, '{"a":[true,null,"x\\""],"b":1}'],
    [{ a: undefined, b: {} }, '{"b":{}}'],
    [[1e-6, 1e21, -0, 13.856406211853027], '[0.000001,1e+21,0,13.856406211853027]'],
    [{ 10: 1, 9: 2, é: 3, Z: 4 }, '{"10":1,"9":2,"Z":4,"é":3}']
  ]
  for (const [value, text] of cases) it(`writes ${text}`, () => assert.equal(canonicalJson(value), text))

  it('depends on content, not on order', () => {
    const manifest: Partial<BundleManifest> = { quant: 'q4', blockExperts: 2 }
    assert.equal(canonicalJson(manifest), canonicalJson({ blockExperts: 2, quant: 'q4' }))
  })
})
