import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { explain, type GenerationTrace, TraceStore } from '../../node/trace/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { type PeerProcess, startPeerProcess } from '../../scripts/peer-process.js'
import { type CliResult, jsonLines, runCli } from '../fixtures/run-cli.js'

describe('moeswarm explain', function () {
  this.timeout(120_000)
  let state: string
  let model: string
  const peers: PeerProcess[] = []

  before(async () => {
    state = await mkdtemp(join(tmpdir(), 'moeswarm-state-'))
    model = await demoBundle('f32')
    peers.push(await startPeerProcess(['--model', model, '--layers', '0-2', '--threads', '1']))
    peers.push(await startPeerProcess(['--model', model, '--layers', '3-5', '--threads', '1', '--bootstrap', peers[0].addresses[0]]))
  })

  after(async () => {
    await Promise.all(peers.map(peer => peer.stop()))
    await rm(state, { recursive: true })
  })

  const run = async (...args: string[]): Promise<CliResult> => await runCli(args, { env: { XDG_STATE_HOME: state, MOESWARM_TRACE: '' } })
  const generate = async (...args: string[]): Promise<Record<string, unknown>> => {
    const { code, stdout, stderr } = await run('generate', '--model', model, '--prompt', 'One day', '--temperature', '0', '--max-tokens', '6', '--draft', 'none', '--json', ...args)
    assert.equal(code, 0, stderr)
    return jsonLines(stdout).at(-1)!
  }

  it('says where the time of a generation in the swarm went, by layers and peers', async () => {
    const { trace: id } = await generate('--bootstrap', peers[0].addresses[0])
    const { code, stdout, stderr } = await run('explain', '--json')
    assert.equal(code, 0, stderr)
    const { trace, sentences } = jsonLines(stdout)[0] as unknown as { trace: GenerationTrace, sentences: string[] }
    assert.equal(trace.id, id)
    assert.deepEqual([trace.tokens, trace.layers.length, trace.prefillLayers.length, trace.laps.length], [6, 6, 6, 5])
    for (const { layer, attention, denseMlp, experts, slowest } of trace.layers) {
      assert.ok(attention > 0 && denseMlp > 0 && experts > 0, `layer ${layer}`)
      assert.deepEqual(slowest, { [peers[layer < 3 ? 0 : 1].peerId]: 5 })
    }
    const inLayers = trace.layers.reduce((sum, { experts }) => sum + experts, 0)
    assert.ok(Math.abs(inLayers - trace.lap.experts) < 1e-6)
    assert.match(sentences[0], /^6 tokens at [\d.]+ tok\/s/)
    assert.doesNotMatch(JSON.stringify(trace), /One day/)
  })

  it('draws the layers in the terminal, as SVG and as a page', async () => {
    const svg = join(state, 'a.svg')
    const html = join(state, 'a.html')
    const { code, stdout, stderr } = await run('explain', '--svg', svg, '--html', html)
    assert.equal(code, 0, stderr)
    assert.match(stdout, /An average decoding lap:[^]*layer[^]*\n5 /)
    const drawn = await readFile(svg, 'utf8')
    assert.equal(drawn.match(/>layer \d</g)?.length, 6)
    const page = await readFile(html, 'utf8')
    assert.ok(page.includes(drawn) && page.includes(peers[0].peerId))
    assert.doesNotMatch(page, /(?:src|href)=/)
  })

  it('lists, finds by a beginning, and says when there is none', async () => {
    const { trace } = await generate('--local-layers', 'all')
    assert.ok((await run('explain', '--list')).stdout.includes(String(trace)))
    assert.match((await run('explain', String(trace).slice(0, -2))).stdout, new RegExp(`Generation ${String(trace)}, trace [0-9a-f]{32}\n[^]*here`))
    const { code, stderr } = await run('explain', '20010101')
    assert.equal(code, 1)
    assert.match(stderr, /no trace of a generation 20010101.*--list/)
  })

  it('names each request as the peer\'s log does, where there is a trace id', async () => {
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
    let spans: Array<{ spanId: string, peerId: string, layer: number }> = []
    const peer = await runCli(['peer', '--model', model, '--threads', '1', '--log-level', 'debug', '--log-format', 'json', '--json'], {
      onLine: (line, child) => {
        const { event, addresses } = JSON.parse(line) as { event: string, addresses: string[] }
        if (event !== 'ready') return
        void (async () => {
          await generate('--bootstrap', addresses[0], '--traceparent', `00-${traceId}-00f067aa0ba902b7-01`)
          spans = (jsonLines((await run('explain', '--json')).stdout)[0].trace as GenerationTrace).spans
        })().finally(() => child.kill('SIGTERM'))
      }
    })
    assert.equal(peer.code, 0, peer.stderr)
    const served = peer.stderr.trim().split('\n').map(line => JSON.parse(line) as Record<string, unknown>).filter(({ event }) => event === 'request-served')
    assert.ok(spans.length > 0 && served.every(line => line.traceId === traceId))
    assert.deepEqual(served.map(({ spanId, layer }) => `${String(spanId)} ${String(layer)}`).sort(), spans.map(({ spanId, layer }) => `${spanId} ${layer}`).sort())
    assert.match((await runCli(['generate', '--traceparent', 'x', '--model', model])).stderr, /32 hex digits/)
  })

  it('tells of an answer that was stopped, and begins a line of its own behind the text', async () => {
    const { code, stdout, stderr } = await runCli(['generate', '--model', model, '--local-layers', 'all', '--prompt', 'One day', '--temperature', '1.5', '--max-tokens', '2000'], {
      env: { XDG_STATE_HOME: state, MOESWARM_TRACE: '' },
      onData: (text, child) => { if (text.length > 100) child.kill('SIGINT') }
    })
    assert.equal(code, 130)
    assert.match(stdout, /\S\n$/)
    const kept = Number(/^(\d+) tokens are kept/m.exec(stderr)![1])
    const explained = await run('explain')
    assert.match(explained.stdout, new RegExp(`• ${kept} tokens at [\\d.]+ tok/s[^•]*\\(stopped by Ctrl-C, or[^]*The first token came after[^]*\\n5 `))
    assert.match((await run('explain', '--list')).stdout, new RegExp(` ${kept} .* stopped *$`, 'm'))
    const id = /--resume (\S+)/.exec(stderr)![1]
    await run('generate', '--model', model, '--local-layers', 'all', '--resume', id, '--quiet')
    assert.match((await run('explain')).stdout.replace(/\s+/g, ' '), new RegExp(`[\\d.]+ tok/s[^•]*it went on from ${kept} tokens of an earlier run`))
  })

  it('keeps nothing with --no-trace, and files that only their owner reads', async () => {
    const dir = join(state, 'moeswarm', 'traces')
    const before = await readdir(dir)
    await generate('--local-layers', 'all', '--no-trace')
    assert.deepEqual(await readdir(dir), before)
    assert.equal((await stat(join(dir, before[0]))).mode & 0o077, 0)
  })

  it('keeps the last fifty', async () => {
    const dir = join(state, 'bounded')
    const store = new TraceStore(dir)
    const ids = Array.from({ length: 55 }, (_, i) => `202601010000${String(i).padStart(2, '0')}-abcdef`)
    for (const id of ids) await store.save(slowTrace({ id }))
    assert.deepEqual(await store.ids(), ids.slice(5).reverse())
    assert.equal((await store.open()).id, ids[54])
  })

  it('names the peer that is far away, and the one that is nearer', () => {
    const text = explain(slowTrace({})).join('\n')
    assert.match(text, /^4 tokens at 2\.0 tok\/s/)
    assert.match(text, /80 % \(400\.0 ms of 500\.0 ms\) of a pass's time was travel.*Peer …FARAWAY1 was the slowest of those asked in 30 of 30 exchanges, at a round trip of 40\.0 ms x 10 layers.*Peer …NEARPEER is 20\.0 times nearer/)
    assert.match(text, /Layer 7 stands out.*against 41\.0 ms/)
    assert.match(text, /2 requests failed and went to replicas \(timeout 1, peer-gone 1\), from peer …FARAWAY1/)
  })

  it('says what it knows of a text that waited, one that failed, and one that was whole already', () => {
    const waited = explain(slowTrace({ queuedMs: 3000, prefillLaps: 1, incidents: [] })).join('\n')
    assert.match(waited, /It waited 3\.0 s for its turn[^]*a prompt of 3 tokens in one pass of 500\.0 ms\./)
    const failed = explain(slowTrace({ tokens: 1, finishReason: 'failed', failure: 'Nobody holds layer 3.', incidents: [] })).join('\n')
    assert.match(failed, /^1 token generated \(failed\): there is no decoding to explain\.\nIt failed with: Nobody holds layer 3\./)
    const early = explain(slowTrace({ tokens: 0, finishReason: 'stopped', firstTokenMs: undefined, prefillLaps: 0, incidents: [] })).join('\n')
    assert.match(early, /^0 tokens generated \(stopped[^]*came to its end in the first pass of a prompt of 3 tokens\./)
    const resumed = explain(slowTrace({ tokens: 9, restoredTokens: 9, incidents: [] })).join('\n')
    assert.match(resumed, /^0 tokens generated \(length\); it went on from 9 tokens of an earlier run: there/)
    assert.doesNotMatch(waited + failed + early + resumed, / 1 (requests|passes|tokens)|0\.0 tok/)
  })
})

/** Ten layers at a far peer, one of them slower still. */
function slowTrace (given: Partial<GenerationTrace>): GenerationTrace {
  const lap = { embedding: 1, turn: 0, attention: 50, denseMlp: 20, send: 5, serialise: 0, network: 400, queue: 0, experts: 20, combine: 0, head: 4, other: 0, total: 500 }
  const peer = { requests: 15, tokens: 15, layers: [0], failures: 0, deviationMs: 1, queueMs: 0, serviceMs: 2, late: 0, hedges: 0, hedgesWon: 0 }
  return {
    format: 2, id: '20260101000000-abcdef', startedAt: '2026-01-01T00:00:00.000Z', model: 'ab'.repeat(32), traceId: 'cd'.repeat(16), promptTokens: 3, tokens: 4, finishReason: 'length', tokensPerSecond: 2, firstTokenMs: 500,
    lap, prefillLap: lap, prefillLayers: [], laps: [500, 510, 490].map((ms, i) => ({ atMs: i * 500, ms })),
    layers: Array.from({ length: 10 }, (_, layer) => ({ layer, turn: 0, attention: 5, send: 0, serialise: 0, denseMlp: 2, network: layer === 7 ? 99 : 40, queue: 0, experts: 1, combine: 0, slowest: { '12D3FARAWAY1': 3 } })),
    peers: [{ ...peer, peerId: '12D3FARAWAY1', latencyMs: 40 }, { ...peer, peerId: '12D3NEARPEER', latencyMs: 2 }] as GenerationTrace['peers'],
    incidents: [{ atMs: 1, type: 'request-failed', layer: 1, peerId: '12D3FARAWAY1', code: 'timeout' }, { atMs: 2, type: 'request-failed', layer: 2, peerId: '12D3FARAWAY1', code: 'peer-gone' }],
    spans: [],
    ...given
  }
}
