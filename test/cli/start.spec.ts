import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { demoBundle, ROOT } from '../../scripts/demo-bundle.js'
import { startPeerProcess } from '../../scripts/peer-process.js'
import { runCli } from '../fixtures/run-cli.js'

interface Started {
  code: number | null
  stdout: string
  stderr: string
  /** What it left in its own home and temporary directory. */
  left: string[]
}

describe('npm start', function () {
  this.timeout(60_000)
  let scratch: string

  before(async () => {
    await demoBundle('q8')
    scratch = await mkdtemp(join(tmpdir(), 'moeswarm-start-test-'))
  })

  after(async () => { await rm(scratch, { recursive: true }) })

  /** Runs the script in a process group of its own, in an empty home; `onStderr` may signal the group, as a terminal does. */
  async function start (args: string[], onStderr: (text: string, signal: (name: NodeJS.Signals) => void) => void = () => {}): Promise<Started> {
    const home = await mkdtemp(join(scratch, 'home-'))
    const child = spawn(process.execPath, [join(ROOT, 'dist', 'scripts', 'start.js'), ...args], {
      detached: true, stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH, HOME: home, TMPDIR: home }
    })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (chunk: Buffer) => { stdout += chunk.toString() })
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString()
      onStderr(stderr, name => { process.kill(-child.pid!, name) })
    })
    const [code] = await once(child, 'close') as [number | null]
    assert.throws(() => process.kill(-child.pid!, 0), 'a process of the group is left')
    return { code, stdout, stderr, left: await readdir(home) }
  }

  it('writes a story with three peers, says where the time went, and leaves nothing', async () => {
    const { code, stdout, stderr, left } = await start(['Tom had a big red ball.'])
    assert.equal(code, 0, stderr)
    assert.match(stdout, /^Tom had a big red ball\..+/)
    assert.match(stderr, /Peer 3 of 3[^]*tok\/s[^]*attention and router[^]*waiting: network[^]*requests/)
    assert.deepEqual(left, [])
  })

  for (const { name, at, signal } of [
    { name: 'Ctrl-C while the peers start', at: 'Peer 2 of 3', signal: 'SIGINT' },
    { name: 'Ctrl-C while it writes', at: 'Peer 3 of 3', signal: 'SIGINT' },
    { name: 'a terminal that closes', at: 'Peer 3 of 3', signal: 'SIGHUP' }
  ] as const) {
    it(`leaves nothing after ${name}`, async () => {
      let sent = false
      const { code, left } = await start([], (text, send) => {
        if (sent || !text.includes(at)) return
        sent = true
        send(signal)
      })
      assert.equal(code, 130)
      assert.deepEqual(left, [])
    })
  }
})

describe('signals and pipes', function () {
  this.timeout(60_000)

  it('end a peer with 0 also when the signal comes twice, from the terminal and from a parent', async () => {
    const peer = await startPeerProcess(['--model', await demoBundle('q8'), '--layers', '0', '--threads', '1'])
    peer.child.kill('SIGINT')
    assert.equal(await peer.stop('SIGTERM'), 0)
  })

  it('interrupt a generation with 130', async () => {
    const { code, stderr } = await runCli(['generate', '--model', await demoBundle('q8'), '--local-layers', 'all', '--prompt', 'One day', '--max-tokens', '400', '--temperature', '1', '--json'], {
      onLine: (_, child) => { child.kill('SIGINT') }
    })
    assert.equal(code, 130)
    assert.doesNotMatch(stderr, /\n\s+at /)
  })

  it('end quietly when nobody reads the output any more', async () => {
    const { code, stderr } = await runCli(['generate', '--model', await demoBundle('q8'), '--local-layers', 'all', '--prompt', 'One day', '--max-tokens', '200'], {
      onLine: (_, child) => { child.stdout?.destroy() }
    })
    assert.notEqual(code, null)
    assert.doesNotMatch(stderr, /EPIPE|\n\s+at /)
  })

  it('keep colours out when NO_COLOR is set, bars out when stdout is no terminal', async () => {
    const { stderr, stdout } = await runCli(['generate', '--model', await demoBundle('q8'), '--local-layers', 'all', '--prompt', 'One day', '--max-tokens', '5'], { env: { NO_COLOR: '1' } })
    assert.doesNotMatch(stderr + stdout, /\u001b\[|█/)
  })
})
