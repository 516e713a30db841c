import assert from 'node:assert/strict'
import { SwarmClient } from '../../node/index.js'
import { MANIFEST_INTERVAL_MS } from '../../swarm/constants.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { type PeerProcess, startPeerProcess } from '../../scripts/peer-process.js'
import { reference } from '../fixtures/reference.js'
import { jsonLines, runCli } from '../fixtures/run-cli.js'

const KILL_AT_TOKEN = 12
/** As a laptop that is closed. A peer pings every 5 s and ends a connection that is silent for 2 s more. */
const ASLEEP_MS = 10_000

describe('a swarm of three peer processes', function () {
  this.timeout(120_000)
  let model: string
  const peers: PeerProcess[] = []
  const { ids, greedy_ids: expected } = reference.prompts[0]
  const generate = ['--temperature', '0', '--wire', 'fp32', '--max-tokens', String(expected.length), '--prompt-ids', ids.join(','), '--json']

  beforeEach(async () => {
    model = await demoBundle('f32')
    for (const layers of ['0-3', '2-5', '0-1,4-5']) {
      peers.push(await startPeerProcess(['--model', model, '--layers', layers, '--threads', '1', ...bootstrap()]))
    }
  })

  afterEach(async () => {
    await Promise.all(peers.splice(0).map(async peer => await peer.stop()))
  })

  const bootstrap = (): string[] => peers.slice(0, 1).flatMap(peer => ['--bootstrap', peer.addresses[0]])

  for (const { what, signal } of [{ what: 'is killed', signal: 'SIGKILL' }, { what: 'hangs', signal: 'SIGSTOP' }] as const) {
    it(`goes on with the same tokens when the replica in use ${what} in the middle of a generation`, async () => {
      const client = await SwarmClient.open({ model, bootstrap: [peers[0].addresses[0]], wire: 'fp32' })
      const tokens: number[] = []
      let killed: PeerProcess | undefined
      let servedBefore = 0
      const served = (): number => client.peers().find(peer => peer.peerId === killed?.peerId)?.requests ?? 0
      try {
        for await (const event of client.generate(ids, { maxTokens: expected.length, stopTokenIds: [], sampling: { temperature: 0, topK: 0, topP: 1, seed: 0 } })) {
          if (event.type !== 'token') continue
          tokens.push(event.id)
          if (tokens.length !== KILL_AT_TOKEN) continue
          // Of the two that hold the last layer, the one that serves it.
          killed = peers.slice(1).find(peer => client.peers().some(stats => stats.peerId === peer.peerId && stats.layers.includes(5)))!
          servedBefore = served()
          killed.child.kill(signal)
        }
        assert.ok(servedBefore > 0, 'the killed peer was in use')
        assert.ok(served() < servedBefore + expected.length, 'that peer did not go on')
        if (signal === 'SIGSTOP') assert.ok(client.peers().some(({ peerId, late }) => peerId === killed?.peerId && late > 0), 'a replica was asked instead of waiting for the deadline')
      } finally {
        killed?.child.kill('SIGCONT')
        await client.close()
      }
      assert.deepEqual(tokens, expected)
    })
  }

  it('goes on from the command line too, without a word to the user', async () => {
    let tokens = 0
    const { code, stdout, stderr } = await runCli(['generate', '--model', model, ...bootstrap(), ...generate], {
      onLine: line => { if (line.includes('"event":"token"') && ++tokens === KILL_AT_TOKEN) peers[2].child.kill('SIGKILL') }
    })
    assert.equal(code, 0, stderr)
    const done = jsonLines(stdout).at(-1)!
    assert.equal(done.event, 'done')
    assert.deepEqual(done.tokens, expected)
    assert.deepEqual(done.promptTokens, ids)
  })

  it('goes on with the same tokens after the client itself was stopped for longer than its peers wait for it', async () => {
    let tokens = 0
    const { code, stdout, stderr } = await runCli(['generate', '--model', model, ...bootstrap(), ...generate, '--copy-memory', '0'], {
      onLine: (line, child) => {
        if (!line.includes('"event":"token"') || ++tokens !== KILL_AT_TOKEN) return
        child.kill('SIGSTOP')
        setTimeout(() => { child.kill('SIGCONT') }, ASLEEP_MS)
      }
    })
    assert.equal(code, 0, stderr)
    assert.match(stderr, /is gone/, 'its connections were ended meanwhile')
    assert.deepEqual(jsonLines(stdout).at(-1)!.tokens, expected)
  })

  it('shows the true map of the swarm, and a killed peer\'s loss within two manifest intervals', async () => {
    const map = async (): Promise<string[]> => {
      const { code, stdout, stderr } = await runCli(['dht', 'coverage', '--model', model, '--json', ...bootstrap()])
      assert.equal(code, 0, stderr)
      return jsonLines(stdout).map(cell => `${String(cell.layer)}:${String(cell.firstExpert)}=${String(cell.replicas)}`)
    }
    const cells = (replicas: number[]): string[] => replicas.flatMap((count, layer) => [0, 8, 16, 24].map(first => `${layer}:${first}=${count}`))
    const shows = async (expected: string[]): Promise<void> => {
      const endsAt = performance.now() + 2 * MANIFEST_INTERVAL_MS
      for (;;) {
        const seen = await map()
        if (performance.now() > endsAt || seen.join() === expected.join()) return assert.deepEqual(seen, expected)
      }
    }
    await shows(cells([2, 2, 2, 2, 2, 2]))
    await peers[2].stop('SIGKILL')
    await shows(cells([1, 1, 2, 2, 1, 1]))
  })

  it('names the layer and its experts when the last replica is gone', async () => {
    // The client has the whole bundle, and would compute here what nobody holds.
    let tokens = 0
    const { code, stdout, stderr } = await runCli(['generate', '--model', model, ...bootstrap(), ...generate, '--copy-memory', '0', '--patience', '5'], {
      onLine: line => {
        if (!line.includes('"event":"token"') || ++tokens !== KILL_AT_TOKEN) return
        void peers[1].stop('SIGKILL')
        void peers[2].stop('SIGKILL')
      }
    })
    assert.equal(code, 1)
    assert.match(stderr, /layer [45]/)
    const error = jsonLines(stdout).at(-1)!
    assert.equal(error.event, 'error')
    assert.equal(error.code, 'experts-unavailable')
  })

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`ends a peer with 0 at ${signal}`, async () => {
      assert.equal(await peers[2].stop(signal), 0)
    })
  }

  it('inspects peers, providers, routing table and lookups', async () => {
    const dht = async (...args: string[]): Promise<ReturnType<typeof jsonLines>> => {
      const { code, stdout, stderr } = await runCli(['dht', ...args, '--json', ...bootstrap()])
      assert.equal(code, 0, stderr)
      return jsonLines(stdout)
    }
    const ids = peers.map(peer => peer.peerId).sort()
    assert.deepEqual((await dht('peers', '--model', model)).map(peer => peer.peerId).sort(), ids)
    assert.deepEqual((await dht('providers', '--model', model, '--layer', '5')).map(peer => peer.peerId).sort(), [peers[1].peerId, peers[2].peerId].sort())
    const table = (await dht('routing-table'))[0].buckets as Array<{ peers: Array<{ peerId: string }> }>
    assert.ok(table.flatMap(bucket => bucket.peers).some(peer => ids.includes(peer.peerId)))
    for (const target of [[peers[2].peerId], ['3', '--model', model]]) {
      const hops = await dht('lookup', ...target)
      assert.ok(hops.some(hop => hop.kind === 'found'), target[0])
    }
  })
})
