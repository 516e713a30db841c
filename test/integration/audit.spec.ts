import assert from 'node:assert/strict'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ApiServer, type AuditCounters, type GenerateEvent, liarRecord, SwarmClient, type SwarmClientInit, type SwarmEvent } from '../../node/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { type PeerProcess, startLyingPeerProcess, startPeerBehindLink, startPeerProcess } from '../../scripts/peer-process.js'
import { type ProxyProcess, startProxyProcess } from '../../scripts/wan-proxy/index.js'
import { AuditDraw } from '../../swarm/audit/draw.js'
import { reference } from '../fixtures/reference.js'
import { jsonLines, runCli } from '../fixtures/run-cli.js'

const { ids, greedy_ids: expected } = reference.prompts[0]
const GREEDY = { maxTokens: expected.length, stopTokenIds: [], sampling: { temperature: 0, topK: 0, topP: 1, seed: 0 } }

describe('a client among peers of which one lies', function () {
  this.timeout(180_000)
  let model: string
  let stateDir: string
  const peers: PeerProcess[] = []
  let proxy: ProxyProcess | undefined
  const events: SwarmEvent[] = []

  before(async () => { model = await demoBundle('f32') })
  beforeEach(async () => { stateDir = await mkdtemp(join(tmpdir(), 'moeswarm-audit-')) })
  afterEach(async () => {
    events.length = 0
    await Promise.all(peers.splice(0).map(async peer => await peer.stop()))
    await proxy?.stop()
    proxy = undefined
    await rm(stateDir, { recursive: true })
  })

  const args = (): string[] => ['--model', model, ...peers.slice(0, 1).flatMap(peer => ['--bootstrap', peer.addresses[0]])]
  const honest = async (): Promise<void> => { peers.push(await startPeerProcess([...args(), '--threads', '1'])) }
  const liar = async (share: number, lie: string): Promise<PeerProcess> => {
    const peer = await startLyingPeerProcess([...args(), '--share', String(share), '--lie', lie])
    peers.push(peer)
    return peer
  }
  const open = async (init: Partial<SwarmClientInit> = {}): Promise<SwarmClient> => await SwarmClient.open({
    model, bootstrap: [peers[0].addresses[0]], wire: 'fp32', threads: 1, stateDir, draft: 'none', onEvent: event => { events.push(event) }, ...init
  })
  const tokensOf = async (client: SwarmClient): Promise<number[]> => {
    const tokens: number[] = []
    for await (const event of client.generate(ids, GREEDY)) if (event.type === 'token') tokens.push(event.id)
    return tokens
  }
  const everybodyIsThere = async (client: SwarmClient): Promise<void> => { while (client.livePeers().length < peers.length) await sleep(20) }

  for (const lie of ['noise', 'other-expert', 'zeros']) {
    it(`gives the text of this machine alone where a third of its replies are lies (${lie}) and every reply is compared`, async () => {
      await honest()
      const lying = await liar(0.3, lie)
      const client = await open({ audit: 1 })
      try {
        await everybodyIsThere(client)
        while (client.liars().size === 0) assert.deepEqual(await tokensOf(client), expected)
        assert.deepEqual([...client.liars()], [lying.peerId])
        const { compared, alone, undecided, liars } = client.audits()!
        assert.ok(compared > 0)
        assert.deepEqual([alone, undecided, liars], [0, 0, 1], 'the copy on this machine has decided')
      } finally {
        await client.close()
      }
      const [proof] = await liarRecord(stateDir).read()
      assert.deepEqual([proof.peerId, proof.modelId, proof.against.map(({ peerId }) => peerId)], [lying.peerId, client.bundle.id, ['this machine']])
      assert.ok(proof.deviation > proof.tolerance)
      assert.equal((await stat(liarRecord(stateDir).file)).mode & 0o777, 0o600)
    })
  }

  it('does not ask who was caught after a new start, until it is told to forget', async () => {
    await honest()
    const lying = await liar(1, 'noise')
    const first = await open({ audit: 1 })
    await everybodyIsThere(first)
    while (first.liars().size === 0) await tokensOf(first)
    await first.close()
    const asked = async (): Promise<boolean> => {
      const client = await open({ audit: 0 })
      try {
        await sleep(3_000)
        return client.livePeers().some(({ peerId }) => peerId === lying.peerId)
      } finally {
        await client.close()
      }
    }
    assert.equal(await asked(), false)
    const env = { XDG_STATE_HOME: stateDir }
    await liarRecord(join(stateDir, 'moeswarm')).add((await liarRecord(stateDir).read())[0])
    const shown = await runCli(['liars', '--json'], { env })
    assert.deepEqual(jsonLines(shown.stdout).map(({ event, peerId }) => [event, peerId]), [['liar', lying.peerId]])
    assert.equal((await runCli(['liars', '--forget', lying.peerId], { env })).code, 0)
    assert.equal((await runCli(['liars', '--forget', lying.peerId], { env })).code, 1)
    await liarRecord(stateDir).forget(lying.peerId)
    assert.equal(await asked(), true)
  })

  it('lets a third peer decide where this machine has no copy', async () => {
    await honest()
    await honest()
    const lying = await liar(1, 'noise')
    const client = await open({ audit: 1, copyMemory: 0 })
    try {
      await everybodyIsThere(client)
      while (client.liars().size === 0) assert.deepEqual(await tokensOf(client), expected)
      assert.deepEqual([...client.liars()], [lying.peerId])
      const [proof] = await liarRecord(stateDir).read()
      assert.deepEqual(proof.against.map(({ peerId }) => peerId).sort(), peers.slice(0, 2).map(({ peerId }) => peerId).sort())
    } finally {
      await client.close()
    }
  })

  for (const paranoid of [true, false]) {
    it(`is told by a client that compares a share what went into an answer, ${paranoid ? 'which is computed again' : 'and keeps it'}`, async () => {
      // Who is honest is far away, so that all is asked of the liar.
      proxy = await startProxyProcess([{ delayMs: 15 }])
      peers.push(await startPeerBehindLink([...args(), '--threads', '1'], proxy, 0))
      const lying = await liar(1, 'other-expert')
      const auditSeed = seedThatWaits(24, 60)
      const first = firstDrawn(auditSeed)
      const client = await open({ audit: 0.05, auditSeed })
      const layers = client.config.layerTypes.length
      try {
        while (client.coverage().some(({ replicas }) => replicas.some(count => count < 2))) await sleep(20)
        let lied: GenerateEvent | undefined
        const requests = new Map<string, number>()
        let counted: Partial<AuditCounters> = {}
        let restored: GenerateEvent | undefined
        let tokens: number[] = []
        for await (const event of client.generate(ids, { ...GREEDY, paranoid })) {
          if (event.type === 'token') tokens.push(event.id)
          // A paranoid answer does not end before what is compared has been; another one may.
          while (!paranoid && tokens.length === 12 && client.liars().size === 0) await sleep(20)
          if (event.type === 'lied') {
            lied = event
            for (const peer of client.peers()) requests.set(peer.peerId, peer.requests)
            counted = { ...client.audits()! }
          }
          if (event.type !== 'restored') continue
          tokens = [...event.tokens]
          restored = event
        }
        assert.deepEqual([...client.liars()], [lying.peerId])
        assert.ok(lied?.type === 'lied' && lied.peerId === lying.peerId && lied.again === paranoid, JSON.stringify(lied))
        // All that it answered before the first comparison went in, and what it answered until that was there.
        const [ofHonest, ofLiar] = peers.map(({ peerId }) => requests.get(peerId) ?? 0)
        assert.ok(lied.replies <= ofLiar && lied.replies >= layers * Math.floor(first / layers) - ofHonest, `${lied.replies} of ${ofLiar} and ${ofHonest}, the ${first}th was compared`)
        assert.ok(counted.compared! >= 1 && counted.lies! >= 1 && counted.undecided === 0)
        // A slow machine has late requests asked of the honest peer too, or probes it, and compares those as well.
        if (counted.compared === 1 && counted.requests === 1) {
          let [proof] = await liarRecord(stateDir).read()
          for (; proof === undefined; [proof] = await liarRecord(stateDir).read()) await sleep(20)
          assert.deepEqual([proof.layer, proof.tokens], [first % layers, 1], 'the first request that the seed draws')
        }
        assert.equal(restored !== undefined, paranoid)
        if (paranoid) assert.deepEqual(tokens, expected)
        else assert.notDeepEqual(tokens, expected)
      } finally {
        await client.close()
      }
    })
  }

  it('serves an answer that is computed again to a program, without a word of the first one', async () => {
    proxy = await startProxyProcess([{ delayMs: 15 }])
    peers.push(await startPeerBehindLink([...args(), '--threads', '1'], proxy, 0))
    const lying = await liar(1, 'other-expert')
    const client = await open({ audit: 0.05, auditSeed: seedThatWaits(24, 60) })
    const generated: GenerateEvent[] = []
    const server = await ApiServer.start({ client, port: 0, paranoid: true, onGenerate: event => { generated.push(event) } })
    try {
      while (client.coverage().some(({ replicas }) => replicas.some(count => count < 2))) await sleep(20)
      const response = await fetch(`${server.url}/v1/completions`, { method: 'POST', body: JSON.stringify({ prompt: ids, max_tokens: expected.length, temperature: 0, stream: true }) })
      const chunks = (await response.text()).split('\n').filter(line => line.startsWith('data: {')).map(line => JSON.parse(line.slice(6)) as { choices: Array<{ text: string }> })
      assert.deepEqual([...client.liars()], [lying.peerId])
      assert.ok(generated.some(({ type }) => type === 'lied') && generated.some(({ type }) => type === 'restored'))
      assert.equal(chunks.map(({ choices: [{ text }] }) => text).join(''), client.decode(expected))
      assert.ok(chunks.length > expected.length / 2, 'in pieces, as other streams are')
    } finally {
      await server.stop(0)
      await client.close()
    }
  })

  it('goes on with the copy of its bundle when the last peer is gone, and gives the same tokens', async () => {
    await honest()
    const client = await open({ patienceMs: 500 })
    try {
      const tokens: number[] = []
      for await (const event of client.generate(ids, GREEDY)) {
        if (event.type !== 'token') continue
        tokens.push(event.id)
        if (tokens.length === 5) await peers[0].stop('SIGKILL')
      }
      assert.deepEqual(tokens, expected)
      assert.ok(events.some(({ type }) => type === 'experts-local'))
    } finally {
      await client.close()
    }
  })
})

/** Requests before the first one that a client with this seed compares, of a twentieth. */
function firstDrawn (seed: string): number {
  const draw = new AuditDraw(0.05, seed)
  let first = 0
  while (!draw.next()) first++
  return first
}

/** A seed whose first comparison is at least the `from`th request and before the `to`th. */
function seedThatWaits (from: number, to: number): string {
  for (let seed = 0; ; seed++) {
    const first = firstDrawn(String(seed))
    if (first >= from && first < to) return String(seed)
  }
}
