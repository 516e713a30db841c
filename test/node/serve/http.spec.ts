import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { request } from 'node:http'
import { text as readAll } from 'node:stream/consumers'
import type { ApiServer, RequestLog } from '../../../node/index.js'
import { ServedSwarm, until } from '../../fixtures/served-swarm.js'

interface ApiErrorBody { error: { message: string, type: string, param: string | null, code: string | null } }

const CHAT = '/v1/chat/completions'
const MESSAGES = [{ role: 'user', content: 'Hello.' }]
/** A story that takes a while. */
const LONG = { prompt: 'Once upon a time', max_tokens: 400, temperature: 1.5, stream: true }

describe('serve over plain HTTP', function () {
  this.timeout(180_000)
  let swarm: ServedSwarm
  let server: ApiServer
  const log: RequestLog[] = []

  before(async () => {
    swarm = await ServedSwarm.start()
    server = await swarm.serve({ limits: { bodyBytes: 20_000, bodyMs: 500, maxTokens: 450 }, onRequest: entry => { log.push(entry) } })
  })
  after(async () => { await swarm.stop() })

  async function post (path: string, body: unknown, headers: Record<string, string> = {}, at = server): Promise<Response> {
    return await fetch(at.url + path, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers } })
  }

  async function errorOf (response: Response): Promise<ApiErrorBody['error']> {
    const { error } = await response.json() as ApiErrorBody
    assert.deepEqual(Object.keys(error).sort(), ['code', 'message', 'param', 'type'])
    return error
  }

  const BAD: Array<{ name: string, path?: string, body: unknown, param: string | null }> = [
    { name: 'broken JSON', body: '{"messages": [', param: null },
    { name: 'JSON that is no object', body: '[1]', param: null },
    { name: 'nothing', body: '', param: null },
    { name: 'no messages', body: {}, param: 'messages' },
    { name: 'empty messages', body: { messages: [] }, param: 'messages' },
    { name: 'an unknown role', body: { messages: [{ role: 'king', content: 'a' }] }, param: 'messages[0].role' },
    { name: 'a number as content', body: { messages: [{ role: 'user', content: 7 }] }, param: 'messages[0].content' },
    { name: 'an image', body: { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] }, param: 'messages[0].content' },
    { name: 'arguments of a call that are no JSON', body: { messages: [{ role: 'assistant', tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{' } }] }] }, param: 'messages[0].tool_calls[0].function.arguments' },
    { name: 'a text as temperature', body: { messages: MESSAGES, temperature: 'hot' }, param: 'temperature' },
    { name: 'a fraction of tokens', body: { messages: MESSAGES, max_tokens: 1.5 }, param: 'max_tokens' },
    { name: 'no tokens', body: { messages: MESSAGES, max_completion_tokens: 0 }, param: 'max_completion_tokens' },
    { name: 'a seed beyond whole numbers', body: { messages: MESSAGES, seed: 1e300 }, param: 'seed' },
    { name: 'too many choices', body: { messages: MESSAGES, n: 1000 }, param: 'n' },
    { name: 'an empty stop string', body: { messages: MESSAGES, stop: [''] }, param: 'stop[0]' },
    { name: 'top_logprobs alone', body: { messages: MESSAGES, top_logprobs: 2 }, param: 'top_logprobs' },
    { name: 'a penalty, which we do not have', body: { messages: MESSAGES, presence_penalty: 0.5 }, param: 'presence_penalty' },
    { name: 'JSON mode, which we do not have', body: { messages: MESSAGES, response_format: { type: 'json_object' } }, param: 'response_format' },
    { name: 'a token id outside the vocabulary', path: '/v1/completions', body: { prompt: [2, 99_999_999] }, param: null },
    { name: 'an empty list of prompts', path: '/v1/completions', body: { prompt: [] }, param: 'prompt' }
  ]

  for (const { name, path = CHAT, body, param } of BAD) {
    it(`answers 400 to ${name}`, async () => {
      const response = await post(path, body)
      assert.equal(response.status, 400)
      const error = await errorOf(response)
      assert.equal(error.type, 'invalid_request_error')
      if (param !== null) assert.ok(error.param?.startsWith(param.replace(/\[0\]$/, '')), `${error.param}: ${error.message}`)
      else assert.equal(error.param, null)
    })
  }

  it('takes null for what is not given, and fields that it does not know', async () => {
    const response = await post(CHAT, { messages: MESSAGES, max_tokens: 2, temperature: null, stop: null, tools: null, seed: null, keep_alive: '5m', logit_bias: {}, response_format: { type: 'text' } })
    assert.equal(response.status, 200)
  })

  it('answers 404 and 405 with the way out', async () => {
    assert.equal((await errorOf(await fetch(`${server.url}/chat/completions`))).code, 'not_found')
    const wrong = await fetch(server.url + CHAT)
    assert.equal(wrong.status, 405)
    assert.equal(wrong.headers.get('allow'), 'POST')
    assert.equal((await post(CHAT, { model: 'gpt-4o', messages: MESSAGES })).status, 404)
  })

  it('answers 413 to a body that is too large, said or not said', async () => {
    const body = JSON.stringify({ messages: [{ role: 'user', content: 'x'.repeat(50_000) }] })
    assert.equal((await post(CHAT, body)).status, 413)
    const chunked = request(server.url + CHAT, { method: 'POST', headers: { 'transfer-encoding': 'chunked' } })
    chunked.end(body)
    const [response] = await once(chunked, 'response') as [import('node:http').IncomingMessage]
    assert.equal(response.statusCode, 413)
    assert.match(await readAll(response), /request_too_large/)
  })

  it('answers 408 to a body that does not come', async () => {
    const slow = request(server.url + CHAT, { method: 'POST', headers: { 'content-length': 1000 } })
    slow.on('error', () => {})
    slow.write('{"messages"')
    const [response] = await once(slow, 'response') as [import('node:http').IncomingMessage]
    assert.equal(response.statusCode, 408)
    slow.destroy()
  })

  it('answers what is no HTTP, and goes on', async () => {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    socket.write('GARBAGE\r\n\r\n')
    assert.match(await readAll(socket), /^HTTP\/1\.1 400/)
    assert.equal((await fetch(`${server.url}/health`)).status, 200)
  })

  it('ends a generation whose client leaves', async () => {
    const abort = new AbortController()
    const response = await fetch(`${server.url}/v1/completions`, { method: 'POST', body: JSON.stringify(LONG), signal: abort.signal })
    await response.body!.getReader().read()
    assert.equal(swarm.monitor.running().length, 1)
    const before = log.length
    abort.abort()
    await until(() => swarm.monitor.running().length === 0 && log.length > before)
    assert.equal(log.at(-1)!.aborted, true)
    assert.notEqual(swarm.monitor.last()?.tokens, LONG.max_tokens)
  })

  it('computes several requests at a time, each as if it were alone', async () => {
    const ask = async (seed: number): Promise<unknown> => {
      const response = await post('/v1/completions', { prompt: 'One day', max_tokens: 20, temperature: 1, seed })
      return ((await response.json()) as { choices: unknown }).choices
    }
    const alone: unknown[] = []
    for (const seed of [1, 2, 3, 4]) alone.push(await ask(seed))
    assert.deepEqual(await Promise.all([1, 2, 3, 4].map(ask)), alone)
  })

  it('queues, and refuses with Retry-After what the queue cannot take', async () => {
    const small = await swarm.serve({ limits: { concurrent: 1, queued: 1 } })
    const abort = new AbortController()
    const running = await fetch(`${small.url}/v1/completions`, { method: 'POST', body: JSON.stringify(LONG), signal: abort.signal })
    await running.body!.getReader().read()
    const waiting = post('/v1/completions', { prompt: 'a', max_tokens: 1 }, {}, small)
    await until(async () => ((await (await fetch(`${small.url}/health`)).json()) as { queued: number }).queued === 1)
    const refused = await post('/v1/completions', { prompt: 'a', max_tokens: 1 }, {}, small)
    assert.equal(refused.status, 429)
    assert.ok(Number(refused.headers.get('retry-after')) >= 1)
    assert.equal((await errorOf(refused)).type, 'rate_limit_error')
    abort.abort()
    assert.equal((await waiting).status, 200)
  })

  it('lets answers end when it stops, then refuses', async () => {
    const ending = await swarm.serve()
    const response = await post('/v1/completions', { ...LONG, max_tokens: 40, seed: 1 }, {}, ending)
    const reader = response.body!.getReader()
    await reader.read()
    const stopped = ending.stop(60_000)
    let text = ''
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += Buffer.from(part.value).toString()
    await stopped
    assert.match(text, /data: \[DONE\]\n\n$/)
    await assert.rejects(fetch(`${ending.url}/health`))
  })

  it('cuts off what does not end in time, saying so in the stream', async () => {
    const ending = await swarm.serve()
    const response = await post('/v1/completions', LONG, {}, ending)
    const reader = response.body!.getReader()
    await reader.read()
    const stopped = ending.stop(0)
    let text = ''
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += Buffer.from(part.value).toString()
    await stopped
    assert.match(text, /"code":"shutting_down"\}\}\n\n$/)
  })

  describe('access', () => {
    it('wants its key, and tells a wrong one', async () => {
      const guarded = await swarm.serve({ apiKey: 'secret' })
      assert.equal((await fetch(`${guarded.url}/health`)).status, 200)
      for (const headers of [{}, { authorization: 'Bearer wrong' }, { authorization: 'Basic secret' }] as Array<Record<string, string>>) {
        const response = await fetch(`${guarded.url}/v1/models`, { headers })
        assert.equal(response.status, 401)
        assert.equal((await errorOf(response)).code, 'invalid_api_key')
      }
      assert.equal((await fetch(`${guarded.url}/v1/models`, { headers: { authorization: 'Bearer secret' } })).status, 200)
    })

    it('refuses pages of others unless they may ask', async () => {
      const origin = 'https://chat.example.org'
      assert.equal((await post(CHAT, { messages: MESSAGES, max_tokens: 1 }, { origin })).status, 403)
      assert.equal((await post(CHAT, { messages: MESSAGES, max_tokens: 1 }, { origin: server.url })).status, 200)
      const open = await swarm.serve({ cors: [origin] })
      const preflight = await fetch(open.url + CHAT, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization, x-stainless-lang' } })
      assert.equal(preflight.status, 204)
      assert.equal(preflight.headers.get('access-control-allow-origin'), origin)
      assert.equal(preflight.headers.get('access-control-allow-headers'), 'authorization, x-stainless-lang')
      const answer = await post(CHAT, { messages: MESSAGES, max_tokens: 1 }, { origin }, open)
      assert.equal(answer.status, 200)
      assert.equal(answer.headers.get('access-control-allow-origin'), origin)
      // Errors too, or the page could not read them.
      assert.equal((await post(CHAT, {}, { origin }, open)).headers.get('access-control-allow-origin'), origin)
    })

    it('refuses a name that was made to point here', async () => {
      const rebound = request(`${server.url}/v1/models`, { headers: { host: 'evil.example.org' } })
      rebound.end()
      const [response] = await once(rebound, 'response') as [import('node:http').IncomingMessage]
      assert.equal(response.statusCode, 403)
      response.resume()
    })
  })

  describe('without peers', () => {
    it('answers 503 when nobody has the experts any more', async () => {
      for (const peer of swarm.peers.splice(0)) await peer.stop()
      await until(async () => (await fetch(`${server.url}/health`)).status === 503)
      const response = await post('/v1/completions', { prompt: 'One day', max_tokens: 2 })
      assert.equal(response.status, 503)
      assert.ok(Number(response.headers.get('retry-after')) >= 1)
      assert.equal((await errorOf(response)).code, 'experts-unavailable')
    })
  })
})
