import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { GenerationTraces, type SwarmEvent } from '../../../node/index.js'
import { explain, TraceStore } from '../../../node/trace/index.js'
import { ServedSwarm, until } from '../../fixtures/served-swarm.js'

const CALLER = '4bf92f3577b34da6a3ce929d0e0e4736'

const TEXTS = 8

describe('traces of what serve generates', function () {
  this.timeout(180_000)
  let dir: string
  let store: TraceStore
  let traces: GenerationTraces
  let swarm: ServedSwarm
  let openai: OpenAI
  const served: Array<SwarmEvent & { type: 'request-served' }> = []
  const logged: string[] = []

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'moeswarm-traces-test-'))
    store = new TraceStore(dir)
    traces = new GenerationTraces(assert.fail, store)
    swarm = await ServedSwarm.start(traces.onEvent, event => { if (event.type === 'request-served') served.push(event) })
    const { url } = await swarm.serve({ traces, limits: { concurrent: TEXTS }, onRequest: ({ traceId }) => { logged.push(traceId) } })
    openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 })
  })
  after(async () => {
    await swarm.stop()
    await traces.settle()
    await rm(dir, { recursive: true })
  })

  const spansOf = async (traceId: string): Promise<string[]> => (await store.open(traceId)).spans.map(({ spanId, layer }) => `${spanId} ${layer}`).sort()
  const servedOf = (traceId: string): string[] => served.filter(event => [event.traceId, ...event.links ?? []].includes(traceId)).map(({ spanId, layer }) => `${spanId} ${layer}`).sort()
  /** Each recorded request is one that a peer served under that name; a hedged or compared one may have been answered after the end. */
  const sameAtPeers = async (traceId: string): Promise<void> => {
    const atPeers = new Set(servedOf(traceId))
    const { spans } = await store.open(traceId)
    for (const { spanId, layer } of spans) assert.ok(atPeers.has(`${spanId} ${layer}`), `layer ${layer}`)
    assert.deepEqual([...new Set(spans.map(({ layer }) => layer))].sort(), [0, 1, 2, 3, 4, 5])
    assert.ok(spans.length > atPeers.size / 2, `${atPeers.size} served, ${spans.length} recorded`)
  }

  it('go on with the trace of the caller, in the answer, the log, the record and at the peers', async () => {
    const { data, request_id: requestId } = await openai.completions.create({ model: swarm.client.bundle.id, prompt: 'One day', max_tokens: 4 }, { headers: { traceparent: `00-${CALLER}-00f067aa0ba902b7-01` } }).withResponse()
    await traces.settle()
    assert.equal(requestId, CALLER)
    assert.ok(logged.includes(CALLER))
    const trace = await store.open(CALLER.slice(0, 12))
    assert.deepEqual([trace.traceId, trace.tokens], [CALLER, data.usage!.completion_tokens])
    assert.ok(trace.spans.length >= 2 * 6, 'prompt and a token through six layers')
    await sameAtPeers(CALLER)
  })

  it('hold each generation\'s own requests where several run at a time', async () => {
    const ids = await Promise.all(['One day', 'Tom had a ball.', 'A cat sat'].map(async prompt => {
      const stream = await openai.completions.create({ model: swarm.client.bundle.id, prompt, max_tokens: 8, stream: true }).withResponse()
      for await (const chunk of stream.data) assert.equal(chunk.model, swarm.client.bundle.id)
      return stream.request_id!
    }))
    await traces.settle()
    assert.equal(new Set(ids).size, 3)
    for (const id of ids) {
      const trace = await store.open(id)
      assert.ok(trace.layers.every(({ slowest }) => Object.keys(slowest).length > 0), 'each layer was asked of a peer')
      assert.ok(trace.laps.length > 0 && trace.laps.length <= trace.tokens)
      await sameAtPeers(id)
    }
  })

  it('name all of each text\'s requests where texts share them, and the texts are those of each alone', async () => {
    const prompts = Array.from({ length: TEXTS }, (_, i) => `${['One day', 'Tom had a ball.', 'A cat sat', 'The sun was'][i % 4]}${' and'.repeat(Math.floor(i / 4))}`)
    const text = async (prompt: string): Promise<{ id: string, text: string }> => {
      const { data, request_id: id } = await openai.completions.create({ model: swarm.client.bundle.id, prompt, max_tokens: 16, temperature: 0 }).withResponse()
      return { id: id!, text: data.choices[0].text }
    }
    const alone: string[] = []
    for (const prompt of prompts) alone.push((await text(prompt)).text)
    const asked = (): number => swarm.client.peers().reduce((sum, { requests }) => sum + requests, 0)
    const before = asked()
    const together = await Promise.all(prompts.map(text))
    assert.deepEqual(together.map(({ text }) => text), alone)
    const requests = asked() - before
    await traces.settle()
    let spans = 0
    for (const { id } of together) {
      const trace = await store.open(id)
      const known = new Set(servedOf(id))
      assert.ok((await spansOf(id)).every(span => known.has(span)))
      const laps = trace.laps.length + 1
      assert.ok(trace.spans.length >= 6 * laps, `${trace.spans.length} requests in ${laps} laps of six layers`)
      assert.ok(trace.spans.some(({ sharedWith = 0 }) => sharedWith > 0) && explain(trace).some(sentence => /requests carried tokens of other texts/.test(sentence)))
      spans += trace.spans.length
    }
    assert.ok(requests < 0.9 * spans, `${requests} requests for ${spans} that the texts had a part in`)
  })

  it('tell how long a text waited in the queue, and where it was when its client left', async () => {
    const { url } = await swarm.serve({ traces, limits: { concurrent: 1 } })
    const ask = async (body: object, signal?: AbortSignal): Promise<Response> => await fetch(`${url}/v1/completions`, { method: 'POST', body: JSON.stringify({ prompt: 'Once upon a time', ...body }), signal })
    const leave = new AbortController()
    const running = await ask({ max_tokens: 400, temperature: 1.5, stream: true }, leave.signal)
    await running.body!.getReader().read()
    const waiting = ask({ max_tokens: 3 })
    await until(async () => ((await (await fetch(`${url}/health`)).json()) as { queued: number }).queued === 1)
    leave.abort()
    const { headers } = await waiting
    await traces.settle()
    const left = await store.open(running.headers.get('x-request-id')!)
    assert.deepEqual([left.finishReason, left.failure, left.promptTokens], ['stopped', undefined, 5])
    const waited = await store.open(headers.get('x-request-id')!)
    assert.deepEqual([waited.finishReason, waited.tokens], ['length', 3])
    assert.ok(waited.queuedMs! > 0 && waited.queuedMs! > left.queuedMs!)
  })

  it('are of the answer\'s own id where the caller has none that will do', async () => {
    const response = await fetch(openai.baseURL.replace('/v1', '/health'), { headers: { traceparent: '00-nonsense-01' } })
    assert.match(response.headers.get('x-request-id')!, /^[0-9a-f]{32}$/)
  })

  it('tell what a text failed with', async () => {
    for (const peer of swarm.peers.splice(0)) await peer.stop()
    const { url } = await swarm.serve({ traces })
    const response = await fetch(`${url}/v1/completions`, { method: 'POST', body: JSON.stringify({ prompt: 'One day', max_tokens: 2 }) })
    assert.equal(response.status, 503)
    await traces.settle()
    const trace = await store.open(response.headers.get('x-request-id')!)
    assert.deepEqual([trace.finishReason, trace.tokens], ['failed', 0])
    assert.match(trace.failure!, /experts/)
  })
})
