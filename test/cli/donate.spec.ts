import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Bundle } from '../../model-tools/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { type PeerProcess, startPeerProcess } from '../../scripts/peer-process.js'
import { jsonLines, runCli } from '../fixtures/run-cli.js'

describe('fetching and donating from the command line', function () {
  this.timeout(60_000)
  let scratch: string
  let model: Bundle
  let seeder: PeerProcess

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'moeswarm-fetch-'))
    model = await Bundle.open(await demoBundle('q8'))
    seeder = await startPeerProcess(['--model', model.dir, '--threads', '1'])
  })

  after(async () => {
    await seeder.stop()
    await rm(scratch, { recursive: true })
  })

  const bootstrap = (): string[] => ['--bootstrap', seeder.addresses[0]]

  it('fetches a whole bundle whose every file is right', async () => {
    const out = join(scratch, 'all')
    const { code, stdout, stderr } = await runCli(['fetch', model.id, '--out', out, '--part', 'all', '--json', ...bootstrap()])
    assert.equal(code, 0, stderr)
    assert.deepEqual(jsonLines(stdout).at(-1), { event: 'done', model: model.id, name: 'gemma4:9m-q8', out, blocks: model.blocks.length })
    await (await Bundle.open(out)).verify()
  })

  it('fetches some experts, and a peer hosts what is there', async () => {
    const out = join(scratch, 'some')
    const { code, stderr } = await runCli(['fetch', model.id, '--out', out, '--part', 'experts', '--layers', '2', '--experts', '8-23', ...bootstrap()])
    assert.equal(code, 0, stderr)
    const peer = await startPeerProcess(['--model', out, '--threads', '1', ...bootstrap()])
    assert.deepEqual(peer.blocks, [{ layer: 2, firstExpert: 8, experts: 8 }, { layer: 2, firstExpert: 16, experts: 8 }])
    assert.equal(await peer.stop(), 0)
  })

  it('donates by the id of a model alone', async () => {
    const peer = await startPeerProcess(['--model', model.id, '--donate', '400MiB', '--donate-cores', '1', '--dir', join(scratch, 'donated'), ...bootstrap()])
    assert.ok(peer.blocks.length > 0)
    assert.equal(await peer.stop(), 0)
  })

  for (const { name, args, pattern } of [
    { name: 'a size that is none', args: ['peer', '--model', 'x', '--donate', 'much'], pattern: /4GiB or 500MB/ },
    { name: 'a donation that also names layers', args: ['peer', '--model', 'x', '--donate', '1GiB', '--layers', '0'], pattern: /not both/ },
    { name: 'a source without a donation', args: ['peer', '--model', 'x', '--source', 'y'], pattern: /go with --donate/ },
    { name: 'a model id without a donation', args: ['peer', '--model', 'ab'.repeat(32)], pattern: /--donate/ },
    { name: 'a fetch from nowhere', args: ['fetch', 'ab'.repeat(32), '--out', 'x'], pattern: /--bootstrap/ },
    { name: 'a range of experts for the client part', args: ['fetch', 'ab'.repeat(32), '--out', 'x', '--layers', '77', '--bootstrap', '/ip4/127.0.0.1/tcp/9'], pattern: /--part experts/ }
  ]) {
    it(`refuses ${name}`, async () => {
      const { code, stderr } = await runCli(args)
      assert.notEqual(code, 0)
      assert.match(stderr, pattern)
      assert.doesNotMatch(stderr, /\n\s+at /)
    })
  }
})
