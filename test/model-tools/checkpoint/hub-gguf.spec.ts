import assert from 'node:assert/strict'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { convertCheckpoint } from '../../../model-tools/bundle/writer.js'
import { openCheckpoint } from '../../../model-tools/checkpoint/open.js'
import { contents, modelError, temporaryDirectory } from '../fixtures.js'
import { writeDemoGguf } from '../gguf-fixtures.js'
import { refuse, REPO, startHubServer, type HubServer } from '../hub-server.js'

const NAMES = ['HF_ENDPOINT', 'HF_TOKEN', 'HF_HOME', 'HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE']
const quant = 'q8'

describe('checkpoint/hub: repositories of GGUF files', function () {
  this.timeout(60_000)
  const temporary = temporaryDirectory()
  const saved = NAMES.map(name => process.env[name])
  let whole: string
  let expected: Record<string, string>
  let server: HubServer | undefined

  before(async () => {
    whole = join(temporary.path, 'whole.gguf')
    await writeDemoGguf(whole, { dtype: 'Q8_0' })
    const out = temporary.sub('local')
    await convertCheckpoint({ checkpoint: whole, out, quant })
    expected = await contents(out)
  })
  afterEach(async () => {
    await server?.close()
    server = undefined
  })
  after(() => {
    NAMES.forEach((name, i) => {
      if (saved[i] == null) Reflect.deleteProperty(process.env, name)
      else process.env[name] = saved[i]
    })
  })

  /** A repository with the vision part that such repositories have, and no safetensors. */
  async function serve (write: (dir: string) => Promise<unknown>): Promise<HubServer> {
    const dir = temporary.sub('repository')
    await mkdir(dir)
    for (const name of ['README.md', 'mmproj-demo.gguf', '.gitattributes']) await writeFile(join(dir, name), name)
    await write(dir)
    server = await startHubServer(dir)
    for (const name of NAMES) Reflect.deleteProperty(process.env, name)
    Object.assign(process.env, { HF_ENDPOINT: server.endpoint, HF_HOME: temporary.sub('hf') })
    return server
  }

  it('give the bundle that the local file gives, whatever goes wrong on the way', async () => {
    const hub = await serve(async dir => writeDemoGguf(join(dir, 'demo-q8_0.gguf'), { dtype: 'Q8_0' }))
    let count = 0
    let faults = 0
    hub.fault = (request, response) => {
      if (!request.toStorage || ++count % 20 !== 7) return false
      switch (faults++ % 3) {
        case 0:
          refuse(response, 429, undefined, { 'retry-after': '0' })
          break
        case 1:
          refuse(response, 503, undefined, { 'retry-after': '0' })
          break
        default: response.destroy()
      }
      return true
    }
    const out = temporary.sub('remote')
    await convertCheckpoint({ checkpoint: `hf:${REPO}`, out, quant })
    assert.deepEqual(await contents(out), expected)
    assert.ok(faults >= 3)
    assert.ok(hub.requests.filter(({ toStorage }) => toStorage).every(({ range }) => range !== undefined), 'weights are read by range')
  })

  it('list the models that there are to choose from, and give the one that is named', async () => {
    const hub = await serve(async dir => {
      await mkdir(join(dir, 'BF16'))
      await writeDemoGguf(join(dir, 'BF16', 'demo.gguf'), { dtype: 'BF16', parts: 2 })
      await writeDemoGguf(join(dir, 'demo-q8_0.gguf'), { dtype: 'Q8_0' })
    })
    await assert.rejects(openCheckpoint(`hf:${REPO}`), modelError('not-found', '2 GGUF models', 'BF16/demo-00001-of-00002.gguf, demo-q8_0.gguf;', `hf:${REPO}:BF16/demo-00001-of-00002.gguf`))
    await assert.rejects(openCheckpoint(`hf:${REPO}:other.gguf`), modelError('not-found', 'other.gguf'))
    await assert.rejects(openCheckpoint(`hf:${REPO}:../demo.gguf`), modelError('malformed'))

    const out = temporary.sub('named')
    const options = { checkpoint: `hf:${REPO}@main:demo-q8_0.gguf`, out, quant } as const
    const abort = new AbortController()
    let events = 0
    await assert.rejects(convertCheckpoint({ ...options, signal: abort.signal, onProgress: () => { if (++events === 60) abort.abort(new Error('enough')) } }), { message: 'enough' })
    hub.commit = 'f'.repeat(40)
    hub.requests.length = 0
    await convertCheckpoint(options)
    assert.deepEqual(await contents(out), expected)
    assert.ok(!hub.requests.some(({ path }) => path.startsWith('/api/')), 'it goes on with the commit and the file that it began with')
  })

  it('give a model in several parts', async () => {
    await serve(async dir => writeDemoGguf(join(dir, 'demo.gguf'), { dtype: 'Q8_0', parts: 3 }))
    const out = temporary.sub('parts')
    await convertCheckpoint({ checkpoint: `hf:${REPO}`, out, quant })
    assert.deepEqual(await contents(out), expected)
  })

  it('in parts on the disk, too, which must be there and in order', async () => {
    const dir = temporary.sub('disk')
    await mkdir(dir)
    await writeDemoGguf(join(dir, 'demo.gguf'), { dtype: 'Q8_0', split: true, parts: 3 })
    const out = temporary.sub('from-disk')
    await convertCheckpoint({ checkpoint: dir, out, quant })
    assert.deepEqual(await contents(out), expected)
    const [second, third] = [2, 3].map(part => join(dir, `demo-0000${part}-of-00003.gguf`))
    await rename(third, `${third}.away`)
    await assert.rejects(openCheckpoint(dir), modelError('not-found', third, 'part 3 of 3'))
    await rename(second, third)
    await rename(`${third}.away`, second)
    await assert.rejects(openCheckpoint(dir), modelError('unsupported', second, 'part 3 of 3'))
  })
})
