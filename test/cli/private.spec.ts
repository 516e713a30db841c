import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { startPeerProcess } from '../../scripts/peer-process.js'
import { jsonLines, runCli } from '../fixtures/run-cli.js'

describe('a private swarm from the command line', function () {
  this.timeout(90_000)
  let scratch: string
  let model: string
  let key: string

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'moeswarm-private-'))
    model = await demoBundle('q8')
    key = join(scratch, 'swarm.key')
  })
  after(async () => { await rm(scratch, { recursive: true }) })

  it('gets a key that only its owner can read', async () => {
    const { code, stdout, stderr } = await runCli(['swarm-key', '--out', key])
    assert.equal(code, 0, stderr)
    assert.equal((await stat(key)).mode & 0o777, 0o600)
    const secret = (await readFile(key, 'utf8')).split('\n')[2]
    assert.match(secret, /^[0-9a-f]{64}$/)
    assert.equal(`${stdout}${stderr}`.includes(secret), false, 'a key in a file is not shown')
    const again = await runCli(['swarm-key', '--out', key])
    assert.equal(again.code, 1)
    assert.match(again.stderr, /is there already/)
    assert.match((await runCli(['swarm-key'])).stdout, /^\/key\/swarm\/psk\/1\.0\.0\/\n\/base16\/\n[0-9a-f]{64}\n$/)
  })

  it('serves who has the key, and nobody else', async () => {
    const peer = await startPeerProcess(['--model', model, '--threads', '1', '--swarm-key', key, '--status-interval', '1', '--max-connections-per-peer', '3'])
    const bootstrap = ['--bootstrap', peer.addresses[0]]
    const generate = ['generate', '--model', model, '--prompt', 'Once', '--max-tokens', '3', '--threads', '1', '--json', ...bootstrap]
    const served = await runCli([...generate, '--swarm-key', key])
    assert.equal(served.code, 0, served.stderr)
    for (const args of [generate, ['dht', 'peers', '--model', model, ...bootstrap]]) {
      const refused = await runCli(args)
      assert.equal(refused.code, 1)
      assert.match(refused.stderr, /a private swarm answers only with its --swarm-key/)
    }
    assert.ok(peer.child.stdout != null)
    const lines = createInterface({ input: peer.child.stdout })
    for (;;) {
      const [line] = await once(lines, 'line') as [string]
      const status = JSON.parse(line) as { event: string, requests: { requests: number }, connections: { refused: object } }
      if (status.event !== 'status' || status.requests.requests === 0) continue
      assert.ok('perIp' in status.connections.refused)
      break
    }
    assert.equal(await peer.stop(), 0)
  })

  it('names what is wrong with keys and lists', async () => {
    const open = join(scratch, 'open.key')
    await writeFile(open, await readFile(key))
    await chmod(open, 0o644)
    const peer = ['peer', '--model', model, '--json']
    for (const [args, says] of [
      [['--swarm-key', open], /can be read or changed by others.*chmod 600/],
      [['--swarm-key', join(scratch, 'none.key')], /There is no swarm key in/],
      [['--swarm-key', join(model, 'manifest.json')], /key file/],
      [['--allow', 'nobody'], /--allow takes a peer id/],
      [['--deny', join(model, 'manifest.json')], /is not a peer id/],
      [['--max-frame-bytes', '1KiB'], /maxFrameBytes/]
    ] as Array<[string[], RegExp]>) {
      const { code, stdout, stderr } = await runCli([...peer, ...args])
      assert.equal(code, 1, args.join(' '))
      assert.match(stderr, says)
      assert.equal(jsonLines(stdout)[0]?.event, 'error')
    }
  })

  it('groups the limits in the help', async () => {
    const { stdout } = await runCli(['peer', '--help'])
    assert.match(stdout, /Limits on what strangers may cost[^]*--max-connections <n>[^]*--max-bytes-in-flight <size>[^]*256MiB/)
  })
})
