import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { clipped } from '../../node/cli/screen.js'
import { lookupTree } from '../../node/cli/lookup-tree.js'
import type { LookupHop } from '../../swarm/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { CLI, type PeerProcess, startPeerProcess } from '../../scripts/peer-process.js'
import { jsonLines, runCli } from '../fixtures/run-cli.js'

const plain = (text: string): string => text.replace(/\u001b\[[0-9;]*m/g, '')

describe('moeswarm dht watch and lookup', function () {
  this.timeout(120_000)
  let model: string
  let first: PeerProcess
  let bootstrap: string[]

  before(async () => {
    model = await demoBundle('f32')
    first = await startPeerProcess(['--model', model, '--layers', '0-3', '--threads', '1'])
    bootstrap = ['--bootstrap', first.addresses[0]]
  })

  after(async () => { await first.stop() })

  const second = async (): Promise<PeerProcess> => await startPeerProcess(['--model', model, '--layers', '2-5', '--threads', '1', ...bootstrap])

  it('tells as JSON who comes and goes and which holes open, and ends with 0', async () => {
    let joining: Promise<PeerProcess> | undefined
    const changes: string[] = []
    const result = await runCli(['dht', 'watch', '--model', model, '--interval', '0.2', '--json', ...bootstrap], {
      onLine: (line, child) => {
        const { event, change } = JSON.parse(line) as { event: string, change?: { type: string } }
        // Holes at layers 4 and 5 close when the second peer comes, and open when it goes.
        if (event === 'look') joining ??= second()
        if (change === undefined) return
        changes.push(change.type)
        if (change.type === 'hole-closed') void joining?.then(peer => peer.stop())
        // Several holes open at once: a second signal would end a process that is about to end.
        if (change.type === 'hole-opened' && changes.filter(type => type === 'hole-opened').length === 1) child.kill('SIGTERM')
      }
    })
    assert.equal(result.code, 0, result.stderr)
    assert.ok(changes.filter(type => type === 'peer-joined').length >= 2)
    assert.ok(changes.includes('hole-closed') && changes.includes('hole-opened'))
    const looks = jsonLines(result.stdout).filter(({ event }) => event === 'look') as unknown as Array<{ peers: unknown[], coverage: unknown[], buckets: unknown[], lookup: { asked: number } }>
    assert.ok(looks[0].coverage.length > 0 && looks[0].buckets.length > 0 && looks[0].lookup.asked > 0)
  })

  it('writes a line a change where there is no terminal', async () => {
    const { code, stdout, stderr } = await runCli(['dht', 'watch', '--model', model, '--interval', '0.2', ...bootstrap], { onLine: (_, child) => { child.kill('SIGINT') } })
    assert.equal(code, 0, stderr)
    assert.match(plain(stdout), /^\d\d:\d\d:\d\d {2}….{8} is there with \d+ blocks, layers 0-3$/m)
  })

  it('fills a terminal, and gives it back at q', async function () {
    if (process.platform !== 'linux' || spawnSync('script', ['--version']).status !== 0) this.skip() // util-linux's, which makes a terminal
    const command = [process.execPath, CLI, 'dht', 'watch', '--model', model, '--interval', '0.2', ...bootstrap].map(word => `'${word}'`).join(' ')
    const child: ChildProcess = spawn('script', ['-qec', `stty rows 30 columns 60; ${command}; stty -a`, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, FORCE_COLOR: '1' } })
    let shown = ''
    let pressed = false
    child.stdout!.on('data', (chunk: Buffer) => {
      shown += chunk.toString()
      if (shown.includes('routing table') && shown.split('\u001b[H').length > 2 && !pressed) pressed = child.stdin!.write('q')
    })
    const [code] = await once(child, 'close') as [number]
    assert.equal(code, 0, shown)
    const [before, after] = shown.split('\u001b[?1049l')
    assert.ok(before.includes('\u001b[?1049h'))
    assert.match(plain(before), /moeswarm dht watch/)
    assert.match(plain(before), /8 holes in 24 blocks/)
    for (const line of before.split('\u001b[H')[1].split('\r\n')) {
      assert.ok(line.replace(/\u001b\[[0-9;?]*[a-zA-Z]/g, '').length <= 60, line)
    }
    assert.match(after, / icanon.* echo /s, 'the terminal reads lines and echoes again')
  })

  it('draws a lookup as a tree', async () => {
    const { code, stdout, stderr } = await runCli(['dht', 'lookup', '3', '--model', model, ...bootstrap])
    assert.equal(code, 0, stderr)
    assert.match(plain(stdout), new RegExp(`this host\\n[├└]─ ….{8} {2}hop 1, path .*bits? in common: .* ms, .*\\n[^]*peers? asked over \\d+ hops? in [^]*Found:[^]*${first.peerId}`))
  })

  it('puts a peer under the one that named it', () => {
    const hop = (kind: LookupHop['kind'], peerId: string, atMs: number, more: Partial<LookupHop> = {}): LookupHop => ({ kind, peerId, atMs, path: 0, sharedBits: 3, ...more })
    const tree = plain(lookupTree([
      hop('ask', 'aaaaaaaa', 0), hop('ask', 'bbbbbbbb', 0), hop('answer', 'aaaaaaaa', 2, { closer: ['cccccccc'] }), hop('ask', 'cccccccc', 3),
      hop('failed', 'bbbbbbbb', 4, { error: 'TimeoutError' }), hop('found', 'cccccccc', 5, { peers: [{ peerId: 'x', addresses: [] }] }), hop('answer', 'cccccccc', 5)
    ], 'zzzzzzzz'))
    assert.deepEqual(tree.split('\n').map(line => line.replace(/ {2}hop.*bits in common/, '')), [
      '…zzzzzzzz this host', '├─ …aaaaaaaa: 2.00 ms, 1 nearer', '│  └─ …cccccccc: 2.00 ms, 0 nearer, found 1', '└─ …bbbbbbbb: 4.00 ms, failed (TimeoutError)', '',
      '3 peers asked over 2 hops in 5.00 ms; 1 did not answer.'
    ])
  })

  it('cuts lines by what they show', () => {
    assert.equal(clipped('\u001b[31mred\u001b[39m and more', 5), '\u001b[31mred\u001b[39m a')
    assert.equal(clipped('…é', 1), '…')
  })
})
