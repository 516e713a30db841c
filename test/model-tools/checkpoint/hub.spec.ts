import assert from 'node:assert/strict'
import { lstat, mkdir, readFile, readdir, symlink, writeFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { convertCheckpoint } from '../../../model-tools/bundle/writer.js'
import type { CheckpointFolder } from '../../../model-tools/checkpoint/folder.js'
import { openHubFolder } from '../../../model-tools/checkpoint/hub.js'
import { hubSettings, type HubSettings } from '../../../model-tools/checkpoint/hub-settings.js'
import { openCheckpoint } from '../../../model-tools/checkpoint/open.js'
import { openSafetensors } from '../../../model-tools/checkpoint/safetensors.js'
import { contents, DEMO_MODEL, modelError, temporaryDirectory } from '../fixtures.js'
import { COMMIT, REPO, refuse, serveRange, startHubServer, type HubRequest, type HubServer } from '../hub-server.js'

const NORM = 'model.language_model.norm.weight'
const WEIGHTS = 'model.safetensors'

describe('checkpoint/hub', () => {
  const temporary = temporaryDirectory()
  let server: HubServer
  let waits: number[]
  let settings: HubSettings
  let open: CheckpointFolder[]
  let weights: Buffer

  before(async () => {
    server = await startHubServer(DEMO_MODEL)
    weights = await readFile(join(DEMO_MODEL, WEIGHTS))
  })
  after(async () => server.close())
  beforeEach(() => {
    waits = []
    open = []
    server.requests.length = 0
    server.commit = COMMIT
    settings = { endpoint: server.endpoint, token: 'hf_secret', cacheDir: temporary.sub('cache'), stallMs: 10_000, sleep: async ms => { waits.push(ms) } }
  })
  afterEach(async () => {
    server.fault = undefined
    for (const folder of open) await folder.close()
  })

  async function folder (spec = `hf:${REPO}`): Promise<CheckpointFolder> {
    const opened = await openHubFolder(spec, { settings })
    open.push(opened)
    return opened
  }

  /** The first requests for ranges of weights, after those for the header, go wrong. */
  function faults (...answers: Array<(request: HubRequest, response: ServerResponse) => void>): void {
    const left = [...answers]
    server.fault = (request, response) => {
      if (!request.toStorage || request.range === 'bytes=0-7') return false
      const answer = left.shift()
      answer?.(request, response)
      return answer != null
    }
  }

  async function readsOn (...answers: Parameters<typeof faults>): Promise<void> {
    const file = await (await folder()).open(WEIGHTS)
    assert.ok(file != null)
    faults(...answers)
    assert.deepEqual(Buffer.from(await file.read(1000, 500_000)), weights.subarray(1000, 501_000))
  }

  it('reads ranges from where the hub redirects to, and shows the token to the hub alone', async () => {
    const source = await openSafetensors(await folder())
    const tensor = source.tensors.get(NORM)
    assert.ok(tensor != null)
    const local = await openCheckpoint(DEMO_MODEL)
    assert.deepEqual(await source.read(NORM, 2, 100), await local.read(NORM, 2, 100))
    assert.deepEqual([...source.tensors], [...local.tensors])
    await local.close()
    assert.equal(source.pinned, `hf:${REPO}@${COMMIT}`)
    const toStorage = server.requests.filter(request => request.toStorage)
    assert.ok(toStorage.length >= 3 && toStorage.every(({ authorization }) => authorization == null))
    assert.ok(server.requests.filter(request => !request.toStorage).every(({ authorization }) => authorization === 'Bearer hf_secret'))
    // Where it was sent once it goes by itself: the hub counts requests.
    assert.equal(server.requests.filter(({ path, range, toStorage }) => !toStorage && path.endsWith(WEIGHTS) && range !== 'bytes=0-0').length, 1)
  })

  it('asks the hub for another address where a signed one has expired', async () => {
    const file = await (await folder()).open(WEIGHTS)
    assert.ok(file != null)
    await file.read(0, 10)
    faults((_, response) => refuse(response, 403))
    server.requests.length = 0
    assert.deepEqual(Buffer.from(await file.read(1000, 500)), weights.subarray(1000, 1500))
    assert.deepEqual(server.requests.map(({ toStorage }) => toStorage), [true, false, true])
  })

  it('waits as long as a server asks that is asked too often', async () => {
    await readsOn(
      (_, response) => refuse(response, 429, undefined, { 'retry-after': '7' }),
      (_, response) => refuse(response, 429, undefined, { ratelimit: '"resolvers";r=0;t=56' }),
      (_, response) => refuse(response, 503, undefined, { 'retry-after': new Date(Date.now() + 20_000).toUTCString() }),
      (_, response) => refuse(response, 429, undefined, { 'retry-after': '86400' }))
    const [seconds, window, date, long] = waits
    assert.deepEqual([seconds, window, long], [7000, 56_000, 300_000])
    assert.ok(date > 15_000 && date <= 20_000, String(date))
  })

  it('tries a server again that has errors, ever more slowly', async () => {
    await readsOn(...[500, 502, 503, 504].map(status => (_: HubRequest, response: ServerResponse) => refuse(response, status)))
    assert.deepEqual(waits, [500, 1000, 2000, 4000])
  })

  it('goes on from the byte where a connection was cut', async () => {
    const cut = (bytes: number) => (request: HubRequest, response: ServerResponse): void => {
      const [first, last] = (request.range ?? '').slice('bytes='.length).split('-').map(Number)
      response.writeHead(206, { 'content-range': `bytes ${first}-${last}/${weights.length}`, 'content-length': String(last - first + 1) })
      response.write(weights.subarray(first, first + bytes), () => response.destroy())
    }
    // More cuts than attempts: each of them brought something.
    await readsOn(...Array.from({ length: 12 }, () => cut(20_000)))
    const starts = server.requests.filter(({ toStorage }) => toStorage).map(({ range }) => Number(range?.slice('bytes='.length).split('-')[0]))
    const asked = starts.filter(start => start >= 1000)
    assert.equal(asked[0], 1000)
    assert.ok(asked.every((start, i) => i === 0 || start >= asked[i - 1]), asked.join())
    assert.ok((asked.at(-1) as number) > 100_000, asked.join())
  })

  it('leaves a connection that brings nothing more, and goes on from there', async () => {
    settings = { ...settings, stallMs: 200 }
    await readsOn(
      (_, response) => {
        response.writeHead(206, { 'content-range': `bytes 1000-500999/${weights.length}` })
        response.write(weights.subarray(1000, 31_000))
      },
      () => { /* no answer at all */ })
    assert.equal(server.requests.at(-1)?.range, 'bytes=31000-500999')
  })

  it('gives up on a server that does not recover, saying so', async () => {
    const file = await (await folder()).open(WEIGHTS)
    server.fault = (_, response) => {
      refuse(response, 503)
      return true
    }
    await assert.rejects(async () => file?.read(0, 10), modelError('unreachable', '9 attempts', '503', 'same command'))
    assert.equal(waits.length, 8)
  })

  it('gives up sooner on a server that has never answered', async () => {
    const gone = await startHubServer(DEMO_MODEL)
    await gone.close()
    settings = { ...settings, endpoint: gone.endpoint }
    await assert.rejects(folder(), modelError('unreachable', gone.endpoint, '4 attempts', 'ECONNREFUSED'))
  })

  it('stops trying when it is interrupted', async () => {
    const abort = new AbortController()
    server.fault = (_, response) => {
      refuse(response, 503)
      return true
    }
    const sleep: HubSettings['sleep'] = async (_, signal) => {
      abort.abort(new Error('enough'))
      signal.throwIfAborted()
    }
    await assert.rejects(openHubFolder(`hf:${REPO}`, { settings: { ...settings, sleep }, signal: abort.signal }), { message: 'enough' })
    assert.equal(server.requests.length, 1)
  })

  it('refuses other bytes than were asked for', async () => {
    const file = await (await folder()).open(WEIGHTS)
    assert.ok(file != null)
    faults((_, response) => serveRange(response, weights, undefined))
    await assert.rejects(file.read(1000, 10), modelError('unreachable', 'byte ranges'))
    faults((_, response) => serveRange(response, weights, 'bytes=1001-1010'))
    await assert.rejects(file.read(1000, 10), modelError('unreachable', 'byte ranges'))
  })

  for (const { what, status, code, token, says } of [
    { what: 'a repository that does not exist, for a guest', status: 401, code: 'RepoNotFound', token: undefined, says: ['denied', 'HF_TOKEN', 'spelling'] },
    { what: 'a token that is not valid', status: 401, code: undefined, token: 'hf_secret', says: ['denied', 'refuses your token'] },
    { what: 'a licence, for a guest', status: 401, code: 'GatedRepo', token: undefined, says: ['denied', 'licence', 'HF_TOKEN'] },
    { what: 'a licence that is not accepted', status: 403, code: 'GatedRepo', token: 'hf_secret', says: ['denied', 'accept the licence'] },
    { what: 'a repository that does not exist', status: 404, code: 'RepoNotFound', token: 'hf_secret', says: ['not-found', 'no model repository'] },
    { what: 'a revision that does not exist', status: 404, code: 'RevisionNotFound', token: undefined, says: ['not-found', 'no revision main'] },
    { what: 'an answer that nothing is known of', status: 418, code: undefined, token: undefined, says: ['unreachable', '418'] }
  ] as const) {
    it(`says what to do about ${what}, and not the token`, async () => {
      settings = { ...settings, token }
      server.fault = (_, response) => {
        refuse(response, status, code)
        return true
      }
      await assert.rejects(folder(), error => {
        assert.ok(error instanceof Error && !error.message.includes('secret'))
        return modelError(says[0], ...says.slice(1), REPO)(error)
      })
      assert.deepEqual(waits, [])
    })
  }

  it('refuses what is no repository, and a server that is no hub', async () => {
    for (const spec of ['hf:', 'hf:model', 'hf:a/b/c', 'hf:../b', 'hf:a/b@', 'hf:a/b@../main']) await assert.rejects(folder(spec), modelError('malformed', spec, 'hf:google/'))
    server.fault = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>')
      return true
    }
    await assert.rejects(folder(), modelError('unreachable', 'HF_ENDPOINT'))
  })

  it('keeps small files in the cache that other tools share, and weights out of it', async () => {
    const first = await openSafetensors(await folder())
    assert.deepEqual(await first.sideFile('config.json'), new Uint8Array(await readFile(join(DEMO_MODEL, 'config.json'))))
    assert.equal(await first.sideFile('no-such-file.json'), undefined)
    const repo = join(settings.cacheDir, 'models--somebody--demo-model')
    assert.equal(await readFile(join(repo, 'refs', 'main'), 'utf8'), COMMIT)
    assert.ok((await lstat(join(repo, 'snapshots', COMMIT, 'config.json'))).isSymbolicLink())
    assert.deepEqual(await readdir(join(repo, 'snapshots', COMMIT)), ['config.json'])
    server.requests.length = 0
    const again = await folder(`hf:${REPO}@${COMMIT}`)
    assert.equal((await again.sideFile('config.json'))?.length, (await first.sideFile('config.json'))?.length)
    assert.deepEqual(server.requests, [])
  })

  it('reads weights that another tool has downloaded from the cache', async () => {
    const snapshot = join(settings.cacheDir, 'models--somebody--demo-model', 'snapshots', COMMIT)
    await mkdir(snapshot, { recursive: true })
    for (const name of [WEIGHTS, 'config.json']) await symlink(join(DEMO_MODEL, name), join(snapshot, name))
    await writeFile(join(snapshot, 'model.safetensors.index.json'), JSON.stringify({ weight_map: { [NORM]: WEIGHTS } }))
    const source = await openSafetensors(await folder(`hf:${REPO}@${COMMIT}`))
    assert.equal((await source.read(NORM, 0, 10)).length, 10)
    await source.close()
    assert.deepEqual(server.requests, [])
  })

  it('takes endpoint, token and cache from the variables of the ecosystem', async () => {
    const home = temporary.sub('home')
    await mkdir(home)
    await writeFile(join(home, 'token'), 'hf_from_file\n')
    const sleep = settings.sleep
    assert.equal((await hubSettings({ HF_HOME: home }, sleep)).token, 'hf_from_file')
    assert.equal((await hubSettings({ HF_HOME: home, HF_TOKEN: 'hf_mine', HF_ENDPOINT: 'https://mirror.example/' }, sleep)).token, 'hf_mine')
    assert.equal((await hubSettings({ HF_HOME: '/nowhere', HF_ENDPOINT: 'https://mirror.example/' }, sleep)).endpoint, 'https://mirror.example')
    assert.equal((await hubSettings({ HF_HOME: '/nowhere' }, sleep)).token, undefined)
    // A container passes variables on that nobody has set, as empty ones.
    const unset = await hubSettings({ HF_HOME: home, HF_TOKEN: ' ', HF_TOKEN_PATH: '', HF_ENDPOINT: '', HF_HUB_CACHE: '' }, sleep)
    assert.deepEqual([unset.token, unset.endpoint, unset.cacheDir], ['hf_from_file', 'https://huggingface.co', join(home, 'hub')])
    assert.equal((await hubSettings({ HF_HOME: home, HF_HUB_CACHE: '/cache' }, sleep)).cacheDir, '/cache')
    await assert.rejects(hubSettings({ HF_ENDPOINT: 'mirror' }, sleep), modelError('malformed', 'HF_ENDPOINT'))
  })

  describe('a conversion', () => {
    const names = ['HF_ENDPOINT', 'HF_TOKEN', 'HF_HOME', 'HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE']
    let saved: Array<string | undefined>
    let local: Record<string, string>
    const quant = 'q8'

    before(async () => {
      saved = names.map(name => process.env[name])
      const out = temporary.sub('local')
      await convertCheckpoint({ checkpoint: DEMO_MODEL, out, quant })
      local = await contents(out)
    })
    beforeEach(() => {
      for (const name of names) Reflect.deleteProperty(process.env, name)
      Object.assign(process.env, { HF_ENDPOINT: server.endpoint, HF_HOME: temporary.sub('hf') })
    })
    after(() => {
      names.forEach((name, i) => {
        if (saved[i] == null) Reflect.deleteProperty(process.env, name)
        else process.env[name] = saved[i]
      })
    })

    it('gives the bundle that the local directory gives, whatever goes wrong on the way', async () => {
      let count = 0
      server.fault = (request, response) => {
        if (!request.toStorage || ++count % 40 !== 7) return false
        if (count % 80 === 7) refuse(response, 429, undefined, { 'retry-after': '0' })
        else response.destroy()
        return true
      }
      const out = temporary.sub('remote')
      await convertCheckpoint({ checkpoint: `hf:${REPO}`, out, quant })
      assert.deepEqual(await contents(out), local)
    })

    it('that was broken off goes on with the commit that it began with', async () => {
      const out = temporary.sub('resumed')
      const abort = new AbortController()
      let events = 0
      const options = { checkpoint: `hf:${REPO}`, out, quant } as const
      await assert.rejects(convertCheckpoint({ ...options, signal: abort.signal, onProgress: () => { if (++events === 60) abort.abort(new Error('enough')) } }), { message: 'enough' })
      server.commit = 'f'.repeat(40)
      server.requests.length = 0
      let kept = 0
      await convertCheckpoint({ ...options, onProgress: ({ keptBytes }) => { kept = keptBytes } })
      assert.ok(kept > 0)
      assert.deepEqual(await contents(out), local)
      assert.ok(!server.requests.some(({ path }) => path.startsWith('/api/')))
    })

    it('of a part, with a manifest, reads the tensors of that part alone', async () => {
      const manifest = join(temporary.sub('published'), 'manifest.json')
      await mkdir(join(manifest, '..'))
      const out = temporary.sub('whole')
      await convertCheckpoint({ checkpoint: DEMO_MODEL, out, quant })
      await writeFile(manifest, await readFile(join(out, 'manifest.json')))
      const part = temporary.sub('part')
      await convertCheckpoint({ checkpoint: `hf:${REPO}`, out: part, manifest, layers: '2', experts: '16-31', client: false })
      const made = await contents(part)
      assert.deepEqual(Object.keys(made).sort(), ['experts/layer-02/016-031.bin', 'manifest.json'])
      for (const [file, digest] of Object.entries(made)) assert.equal(digest, local[file])
      const ranges = server.requests.filter(({ toStorage }) => toStorage).map(({ range }) => (range ?? '').slice('bytes='.length).split('-').map(Number))
      const bytes = ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0)
      assert.ok(bytes < 16 * 3 * 192 * 64 * 2 + 100_000, `${bytes} bytes were read`)
    })
  })
})
