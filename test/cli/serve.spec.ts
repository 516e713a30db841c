import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import { demoBundle, ROOT } from '../../scripts/demo-bundle.js'
import { CLI } from '../../scripts/peer-process.js'
import { runCli } from '../fixtures/run-cli.js'

interface Line { event: string, url?: string, dashboard?: string }

describe('moeswarm serve, and the page of others', function () {
  this.timeout(120_000)

  /** Runs `node args` until `use` has what it wants of it, then ends it with SIGTERM. Resolves with all of stderr. */
  async function during (args: string[], env: Record<string, string>, use: (nextLine: () => Promise<string>, stderr: () => string) => Promise<void>): Promise<{ code: number | null, stderr: string }> {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, MOESWARM_TRACE: 'false', ...env } })
    let stderr = ''
    child.stderr.on('data', (chunk: Buffer) => { stderr += chunk.toString() })
    const exited = once(child, 'exit') as Promise<[number | null]>
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    try {
      await use(async () => {
        const next: IteratorResult<string, unknown> = await lines.next()
        assert.ok(next.done !== true, stderr)
        return next.value
      }, () => stderr)
    } finally {
      child.kill('SIGTERM')
    }
    const [code] = await exited
    return { code, stderr }
  }

  it('says where it listens, wants its key, logs requests, and ends with 0', async () => {
    const args = [CLI, 'serve', '--json', '--model', await demoBundle('q8'), '--local-layers', 'all', '--threads', '1', '--port', '0', '--host', '0.0.0.0', '--max-tokens', '3']
    const { code, stderr } = await during(args, { MOESWARM_API_KEY: 'secret' }, async nextLine => {
      const { event, url } = JSON.parse(await nextLine()) as Line
      assert.equal(event, 'ready')
      const local = url!.replace('0.0.0.0', '127.0.0.1')
      assert.equal((await fetch(`${local}/v1/models`)).status, 401)
      const response = await fetch(`${local}/v1/completions`, {
        method: 'POST', headers: { authorization: 'Bearer secret' }, body: JSON.stringify({ prompt: 'One day', max_tokens: 100 })
      })
      const { usage } = await response.json() as { usage: { completion_tokens: number } }
      assert.equal(usage.completion_tokens, 3)
      const log = [JSON.parse(await nextLine()), JSON.parse(await nextLine())] as Array<{ event: string, path: string, status: number }>
      assert.deepEqual(log.map(({ event: of, path, status }) => [of, path, status]), [['request', '/v1/models', 401], ['request', '/v1/completions', 200]])
    })
    assert.equal(code, 0)
    assert.doesNotMatch(stderr, /Warning/)
  })

  it('serves metrics of what it generated, and logs objects', async () => {
    const args = [CLI, 'serve', '--json', '--model', await demoBundle('q8'), '--local-layers', 'all', '--threads', '1', '--port', '0', '--metrics', '0', '--log-format', 'json']
    const { code, stderr } = await during(args, {}, async nextLine => {
      const { url, metrics } = JSON.parse(await nextLine()) as { url: string, metrics: string }
      await (await fetch(`${url}/v1/completions`, { method: 'POST', body: JSON.stringify({ prompt: 'One day', max_tokens: 5 }) })).text()
      const text = await (await fetch(metrics)).text()
      assert.match(text, /^moeswarm_client_tokens_total 5$/m)
      assert.match(text, /^moeswarm_client_laps_total [1-4]$/m)
    })
    assert.equal(code, 0)
    const events = stderr.trim().split('\n').map(line => JSON.parse(line) as { level: string, event: string })
    assert.deepEqual(events.map(({ event }) => event), ['ready', 'metrics', 'request', 'stopping'])
  })

  it('warns when everybody can reach it without a key', async () => {
    const args = [CLI, 'serve', '--json', '--model', await demoBundle('q8'), '--local-layers', 'all', '--threads', '1', '--port', '0', '--host', '0.0.0.0']
    const { stderr } = await during(args, {}, async nextLine => { await nextLine() })
    assert.match(stderr, /Warning: everybody who reaches 0\.0\.0\.0/)
  })

  it('says in a sentence when it cannot listen', async () => {
    const { code, stderr } = await runCli(['serve', '--model', await demoBundle('q8'), '--local-layers', 'all', '--threads', '1', '--port', '0', '--host', '192.0.2.1'])
    assert.equal(code, 1)
    assert.match(stderr, /192\.0\.2\.1 is no address of this machine/)
    assert.doesNotMatch(stderr, /\n\s+at /)
  })

  it('peer --dashboard serves the page', async () => {
    const { code } = await during([CLI, 'peer', '--json', '--model', await demoBundle('q8'), '--layers', '0', '--threads', '1', '--dashboard', '0'], {}, async nextLine => {
      const { dashboard } = JSON.parse(await nextLine()) as Line
      assert.match(await (await fetch(dashboard!)).text(), /<title>moeswarm<\/title>/)
    })
    assert.equal(code, 0)
  })

  it('npm start -- --dashboard serves it for its swarm of three', async () => {
    const { code } = await during([join(ROOT, 'dist', 'scripts', 'start.js'), '--dashboard'], {}, async (_, stderr) => {
      let url: string | undefined
      while (url === undefined) {
        url = /a chat at (http:\S+)/.exec(stderr())?.[1]
        await new Promise(resolve => setTimeout(resolve, 50))
      }
      const { peers } = await (await fetch(`${url}/health`)).json() as { peers: number }
      assert.equal(peers, 3)
    })
    assert.equal(code, 130)
  })
})
