import assert from 'node:assert/strict'
import { mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BlockEntry, Bundle, type BundleManifest, expertGraph, expertLayout, sha256OfFile, synthesize, type WeightFormat } from '../../model-tools/index.js'
import { mappingPays } from '../../node/host/allocator.js'
import { ExpertHost } from '../../node/host/expert-host.js'
import { provenOutputs } from '../../node/host/expert-proof.js'
import { findPacked, makePacked, openMapped, packedExpert } from '../../node/host/packed-blocks.js'
import { openSession } from '../../node/onnx-session.js'
import type { ExpertBatch } from '../../swarm/index.js'

const DEAD = 4_194_305 // no process has this id: Linux ends at 2^22

describe('packed weights', function () {
  this.timeout(120_000)
  let scratch: string
  const hosts: ExpertHost[] = []

  before(async () => { scratch = await mkdtemp(join(tmpdir(), 'moeswarm-packed-')) })
  afterEach(async () => { for (const host of hosts.splice(0)) await host.stop() })
  after(async () => { await rm(scratch, { recursive: true }) })

  /** One layer in two blocks. */
  async function synthetic (name: string, quant: WeightFormat = 'u4'): Promise<Bundle> {
    const out = join(scratch, name)
    await synthesize({ shape: 'demo', layers: 1, format: 'bundle', out, quant, blockExperts: 16 })
    return await Bundle.open(out)
  }

  async function load (bundle: Bundle, mapWeights: boolean, blocks = bundle.blocks): Promise<ExpertHost> {
    const host = await ExpertHost.load({ bundle, blocks, threads: 2, mapWeights })
    hosts.push(host)
    return host
  }

  for (const quant of ['q8', 'q4', 'u4'] as const) {
    it(`give the bits of those in memory, at the first start and at the next (${quant})`, async () => {
      const bundle = await synthetic(quant, quant)
      const expected = (await (await load(bundle, false)).compute(batchOf(bundle))).sum
      assert.deepEqual((await readdir(bundle.dir)).filter(name => name === '.packed'), [])
      for (const start of ['first', 'next']) {
        const host = await load(bundle, true)
        assert.deepEqual(host.mapping, { experts: bundle.config.experts, notMapped: undefined }, start)
        assert.deepEqual((await host.compute(batchOf(bundle))).sum, expected, start)
      }
    })
  }

  it('are pages of a file, none of them a copy, at the width of the 26B model', async function () {
    if (process.platform !== 'linux') this.skip()
    const { bundle, block } = await wide(join(scratch, 'wide'))
    assert.equal(mappingPays(bundle), process.arch === 'x64')
    const made = await makePacked(bundle, block)
    const packed = await findPacked(bundle, block)
    assert.deepEqual(packed, made)
    for (const [index, expert] of bundle.experts(block).entries()) {
      const [mapped, plain] = [await openMapped(bundle, expert, packedExpert(made, index), 1), await openSession(expertGraph(bundle.config, expert.gateUp, expert.down), { dir: bundle.dir, threads: 1 })]
      const columns = { hidden: bundle.config.hiddenSize }
      assert.deepEqual(await provenOutputs(mapped, columns), await provenOutputs(plain, columns))
      const { Rss, Anonymous } = mappedPages(made.gateUp.file)
      const bytes = made.gateUp.bytes + made.down.bytes
      assert.ok(Rss >= bytes && Rss < bytes * 1.02, `${Rss} bytes of the file are mapped, ${bytes} are the weights`)
      assert.equal(Anonymous, 0)
      await mapped.release()
      await plain.release()
    }
  })

  it('are made again where the file or its index is damaged', async () => {
    const bundle = await synthetic('damaged')
    const expected = (await (await load(bundle, true)).compute(batchOf(bundle))).sum
    const [block] = bundle.blocks
    const { sha256 } = bundle.manifest.files[block.file]
    const [bin, json] = ['bin', 'json'].map(kind => join(bundle.dir, '.packed', `${sha256}.${kind}`))
    const digest = await sha256OfFile(bin)
    const index = await readFile(json, 'utf8')
    const damages: Array<() => Promise<void>> = [
      async () => {
        const file = await open(bin, 'r+')
        await file.write(Uint8Array.of(1, 2, 3), 0, 3, 5000)
        await file.close()
      },
      async () => { await writeFile(json, index.slice(0, 40)) },
      // A key that names nothing: onnxruntime would compute with something else.
      async () => { await writeFile(json, index.replace(/MatMulNBits\+\d/, 'MatMulNBits+0')) },
      async () => { await writeFile(json, index.replace('onnxruntime 1', 'onnxruntime 0')) },
      async () => { await rm(json) }
    ]
    for (const [i, damage] of damages.entries()) {
      await damage()
      assert.equal(await findPacked(bundle, block), undefined, `damage ${i}`)
      const host = await load(bundle, true)
      assert.equal(host.mapping.experts, bundle.config.experts)
      assert.deepEqual((await host.compute(batchOf(bundle))).sum, expected)
      assert.equal(await sha256OfFile(bin), digest)
      assert.equal(await readFile(json, 'utf8'), index)
    }
  })

  it('are left out with a reason where they cannot be', async () => {
    const plain = await synthetic('f32', 'f32')
    assert.deepEqual((await load(plain, true)).mapping, { experts: 0, notMapped: 'weights of f32 are not packed' })
    const blocked = await synthetic('blocked')
    await writeFile(join(blocked.dir, '.packed'), 'in the way')
    const host = await load(blocked, true)
    assert.equal(host.mapping.experts, 0)
    assert.match(host.mapping.notMapped ?? '', /EEXIST/)
    assert.deepEqual((await host.compute(batchOf(blocked))).sum, (await (await load(blocked, false)).compute(batchOf(blocked))).sum)
  })

  it('go with their block, and what the dead have left goes at the next start', async () => {
    const bundle = await synthetic('removed')
    const dir = join(bundle.dir, '.packed')
    await mkdir(join(dir, `.packing-${DEAD}-00`), { recursive: true })
    await writeFile(join(dir, `.packing-${DEAD}-00`, 'saved.bin'), 'half')
    await mkdir(join(dir, `.packing-${process.pid}-00`))
    await writeFile(join(dir, 'of-another-model.bin'), '')
    const host = await load(bundle, true)
    const [first, second] = bundle.blocks
    const files = ({ file }: BlockEntry): string[] => ['bin', 'json'].map(kind => `${bundle.manifest.files[file].sha256}.${kind}`)
    const own = `.packing-${process.pid}-00`
    assert.deepEqual((await readdir(dir)).sort(), [own, ...files(first), ...files(second)].sort())
    await host.remove([first])
    assert.deepEqual((await readdir(dir)).sort(), [own, ...files(second)].sort())
    assert.equal(host.mapping.experts, second.experts)
    await host.add([first])
    assert.equal(host.mapping.experts, bundle.config.experts)
    await host.remove(bundle.blocks)
    assert.deepEqual(await readdir(dir), [own])
  })
})

/** Each of three tokens asks four experts. */
function batchOf ({ config: { hiddenSize } }: Bundle): ExpertBatch {
  return {
    layer: 0, tokens: 3,
    hidden: Float32Array.from({ length: 3 * hiddenSize }, (_, i) => Math.sin(i * 1.7) * 2),
    counts: new Uint16Array(3).fill(4),
    experts: Uint16Array.from({ length: 12 }, (_, i) => [1, 2, 17, 30][i % 4]),
    weights: Float32Array.from({ length: 12 }, (_, i) => 0.1 + 0.05 * (i % 7))
  }
}

/** Two experts as wide as those of the 26B model, made-up weights, and nothing else of a model. */
async function wide (dir: string): Promise<{ bundle: Bundle, block: BlockEntry }> {
  await mkdir(dir)
  const config = { hiddenSize: 2816, expertIntermediateSize: 704, rmsNormEps: 1e-6 } as Bundle['config']
  const block = { layer: 0, firstExpert: 0, experts: 2, file: 'block.bin' }
  const { bytes, experts } = expertLayout(config, 'u4', block.experts, block.file, 0)
  const content = Buffer.alloc(bytes)
  for (let i = 0; i < bytes; i++) content[i] = Math.imul(i, 2_654_435_761) >>> 24
  for (const { gateUp, down } of experts) {
    for (const { scales } of [gateUp, down]) for (let at = 0; at < scales!.bytes; at += 2) content.writeUInt16LE(0x2000 + (at * 31 & 0x3ff), scales!.offset + at)
  }
  await writeFile(join(dir, block.file), content)
  const manifest = { config, quant: 'u4', blocks: [block], files: { [block.file]: { bytes, sha256: await sha256OfFile(join(dir, block.file)) } } } as unknown as BundleManifest
  // The manifest of a whole model would want its client part too.
  const bundle = Object.assign(Object.create(Bundle.prototype) as Bundle, { dir, id: 'wide', manifest })
  return { bundle, block }
}

/** Sums over this process's mappings of a file, in bytes. */
function mappedPages (file: string): { Rss: number, Anonymous: number } {
  const pages = { Rss: 0, Anonymous: 0 }
  let ofFile = false
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) ofFile = line.endsWith(file)
    const [, name, kilobytes] = /^(\w+):\s+(\d+) kB/.exec(line) ?? []
    if (ofFile && (name === 'Rss' || name === 'Anonymous')) pages[name] += Number(kilobytes) * 1024
  }
  return pages
}
