import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdir, open, readFile, rm, stat, symlink, truncate, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { Bundle } from '../../../model-tools/bundle/reader.js'
import { convertCheckpoint, type ConversionOptions, type ConversionProgress } from '../../../model-tools/bundle/writer.js'
import { killedConversion } from '../../../scripts/killed-conversion.js'
import { changedCheckpoint, contents, DEMO_MODEL, modelError, safetensorsBytes, temporaryDirectory, type RawTensor } from '../fixtures.js'

const PREFIX = 'model.language_model.'

describe('bundle/writer, at full size', () => {
  const temporary = temporaryDirectory()
  let whole: string
  let expected: Record<string, string>

  const convert = async (out: string, options: Partial<ConversionOptions> = {}): Promise<Bundle> =>
    convertCheckpoint({ checkpoint: DEMO_MODEL, out, quant: 'q4', blockExperts: 8, ...options })

  before(async () => {
    whole = temporary.sub('whole')
    await convert(whole)
    expected = await contents(whole)
  })

  it('gives the same bytes with any number of threads', async () => {
    for (const threads of [1, 3, 20]) {
      const out = temporary.sub(`threads-${threads}`)
      await convert(out, { threads })
      assert.deepEqual(await contents(out), expected)
    }
  })

  describe('parts', () => {
    const parts = [
      { what: 'layers with the client part', options: { layers: '0-1,5' }, has: /^(text|client|experts\/layer-0[015])\// },
      { what: 'experts of every layer', options: { experts: '8-23', client: false }, has: /^experts\/layer-0\d\/0(08-015|16-023)/ },
      { what: 'one block', options: { layers: '3', experts: '24-31', client: false }, has: /^experts\/layer-03\/024-031/ },
      { what: 'the client part alone', options: { layers: 'none' }, has: /^(text|client)\// }
    ]
    for (const { what, options, has } of parts) {
      it(`writes ${what}, with the manifest of the whole`, async () => {
        const out = temporary.sub('part')
        const bundle = await convert(out, options)
        const files = Object.keys(expected).filter(file => file === 'manifest.json' || has.test(file))
        assert.deepEqual(await contents(out), Object.fromEntries(files.map(file => [file, expected[file]])))
        await bundle.verify(files.filter(file => file !== 'manifest.json'))
        const checked = temporary.sub('part')
        const events: ConversionProgress[] = []
        await convertCheckpoint({ checkpoint: DEMO_MODEL, out: checked, manifest: join(whole, 'manifest.json'), ...options, onProgress: event => events.push(event) })
        assert.deepEqual(await contents(checked), await contents(out))
        const bytes = files.reduce((sum, file) => sum + (bundle.manifest.files[file]?.bytes ?? 0), 0)
        assert.deepEqual([events.at(-1)?.doneBytes, events.at(-1)?.totalBytes], [bytes, bytes])
      })
    }

    it('go together, from manifest and from journal, in any order', async () => {
      const out = temporary.sub('joined')
      await convert(out, { layers: '4', client: false })
      await convert(out, { layers: '0-3' })
      const abort = new AbortController()
      let events = 0
      await assert.rejects(convert(out, { signal: abort.signal, onProgress: ({ keptBytes, doneBytes }) => { if (doneBytes > keptBytes && ++events === 5) abort.abort() } }))
      await convert(out)
      assert.deepEqual(await contents(out), expected)

      const broken = temporary.sub('broken')
      const second = new AbortController()
      await assert.rejects(convert(broken, { layers: '5', signal: second.signal, onProgress: ({ file }) => { if (file.startsWith('experts/layer-03')) second.abort() } }))
      await convert(broken, { layers: '0' })
      await convert(broken)
      assert.deepEqual(await contents(broken), expected)
    })

    it('that a manifest does not promise are refused', async () => {
      const manifest = join(whole, 'manifest.json')
      const trained = await changedCheckpoint(temporary.sub('trained'), { tensors: all => { (all.get(`${PREFIX}layers.2.experts.down_proj`) as RawTensor).data.fill(0x3d) } })
      const out = temporary.sub('refused')
      const options = { checkpoint: trained, out, manifest, layers: '2', client: false }
      await assert.rejects(convertCheckpoint(options), modelError('hash-mismatch', 'experts/layer-02', trained, manifest))
      assert.ok(!Object.keys(await contents(out)).some(file => file.startsWith('experts/') || file === 'manifest.json'))
      await assert.rejects(convertCheckpoint({ ...options, quant: 'q8' }), modelError('hash-mismatch', manifest, 'quant, which is q4'))
      await assert.rejects(convertCheckpoint({ ...options, manifest: join(out, 'none.json') }), modelError('not-found', 'none.json'))
      await assert.rejects(convertCheckpoint({ ...options, manifest: join(DEMO_MODEL, 'config.json') }), modelError('malformed', 'config.json'))
      // What the change does not touch can be made.
      await convertCheckpoint({ ...options, layers: '1' })
    })

    it('that the model does not have are refused', async () => {
      await assert.rejects(convert(temporary.sub('x'), { layers: '6' }), modelError('out-of-range', 'layers 0-5'))
      await assert.rejects(convert(temporary.sub('x'), { experts: '4-11' }), modelError('out-of-range', '0-15'))
    })
  })

  describe('the lock', () => {
    const lock = async (out: string, text: string, ageSeconds = 0): Promise<void> => {
      await mkdir(out)
      await writeFile(join(out, 'conversion.lock'), text)
      const time = new Date(Date.now() - ageSeconds * 1000)
      await utimes(join(out, 'conversion.lock'), time, time)
    }

    it('keeps a second conversion out of a directory', async () => {
      const out = temporary.sub('twice')
      const results = await Promise.allSettled([convert(out), convert(out)])
      const [refused] = results.filter(result => result.status === 'rejected')
      assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
      modelError('busy', out, String(process.pid))(refused.reason)
      assert.deepEqual(await contents(out), expected)
    })

    it('of a process on another machine that was just there holds', async () => {
      const out = temporary.sub('elsewhere')
      await lock(out, JSON.stringify({ pid: 7, host: 'elsewhere' }))
      await assert.rejects(convert(out), modelError('busy', 'Process 7 on elsewhere'))
    })

    const dead = spawnSync(process.execPath, ['-e', '']).pid
    for (const { what, text, age } of [
      { what: 'a process that has died', text: JSON.stringify({ pid: dead, host: hostname() }), age: 0 },
      { what: 'a process that has not been heard of for long', text: JSON.stringify({ pid: process.pid, host: hostname() }), age: 120 },
      { what: 'a machine that has not been heard of for long', text: JSON.stringify({ pid: 7, host: 'elsewhere' }), age: 120 },
      { what: 'nobody', text: '', age: 120 }
    ]) {
      it(`of ${what} is taken over`, async () => {
        const out = temporary.sub('stale')
        await lock(out, text, age)
        await convert(out)
        assert.deepEqual(await contents(out), expected)
      })
    }
  })

  describe('the disk', () => {
    it('is checked before a byte is written', async () => {
      // The embedding of a sparse file: 400 GB of the checkpoint, 800 GB of the bundle, none of it on the disk.
      const vocabulary = 2 ** 30
      const checkpoint = await changedCheckpoint(temporary.sub('large'), { config: config => { config.text_config.vocab_size = vocabulary } })
      const path = join(checkpoint, 'model.safetensors')
      const bytes = await readFile(path)
      const headerBytes = Number(bytes.readBigUInt64LE(0))
      const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<string, { shape: number[], data_offsets: number[] }>
      const embedding = header[`${PREFIX}embed_tokens.weight`]
      const end = Math.max(...Object.values(header).map(({ data_offsets: offsets }) => offsets?.[1] ?? 0))
      const width = embedding.shape[1] * 2
      const [from, to] = embedding.data_offsets
      for (const tensor of Object.values(header)) if (tensor.data_offsets?.[0] >= to) tensor.data_offsets = tensor.data_offsets.map(offset => offset - (to - from))
      const start = end - (to - from)
      Object.assign(embedding, { shape: [vocabulary, embedding.shape[1]], data_offsets: [start, start + vocabulary * width] })
      const headerOnly = safetensorsBytes(header, new Uint8Array(0))
      await writeFile(path, headerOnly)
      await truncate(path, headerOnly.length + start + vocabulary * width)
      const out = temporary.sub('full')
      await assert.rejects(convert(out, { checkpoint, quant: 'f32' }), modelError('no-space', out, 'GiB are missing', '--out'))
      await assert.rejects(stat(out))
      await rm(checkpoint, { recursive: true })
    })

    it('that fills up in the middle ends the conversion, which goes on when there is room', async function () {
      const full = await open('/dev/full', 'r+').catch(() => undefined)
      if (full == null) return this.skip()
      await full.close()
      const out = temporary.sub('fills-up')
      const file = join(out, 'experts/layer-04/016-023.bin')
      let made = false
      const options = {
        onProgress: (): void => {
          if (made) return
          made = true
          spawnSync('mkdir', ['-p', dirname(file)])
          spawnSync('ln', ['-s', '/dev/full', `${file}.partial`])
        }
      }
      await assert.rejects(convert(out, options), modelError('no-space', out, 'still to be written', 'same command'))
      const left = Object.keys(await contents(out))
      assert.ok(left.includes('conversion.journal') && !left.some(name => /partial|lock|manifest/.test(name)), left.join())
      await assert.rejects(Bundle.open(out), modelError('not-found', out))
      await convert(out)
      assert.deepEqual(await contents(out), expected)
    })
  })

  it('goes on after kill -9 at any moment, to the same bytes', async function () {
    this.timeout(60_000)
    const { isEqual, kills } = await killedConversion(DEMO_MODEL, temporary.sub('killed'), 4, ['--quant', 'q8', '--block-experts', '2'])
    assert.equal(kills.length, 4)
    assert.ok(isEqual)
  })

  it('takes links in the way of its files for what they are', async () => {
    const out = temporary.sub('link')
    await convert(out, { layers: '0', client: false })
    const file = join(out, 'experts/layer-01/000-007.bin')
    await mkdir(dirname(file))
    await symlink(join(whole, 'manifest.json'), `${file}.partial`)
    await convert(out)
    assert.deepEqual(await contents(whole), expected)
    assert.deepEqual(await contents(out), expected)
  })
})
