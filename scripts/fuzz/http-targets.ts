import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { ApiError } from '../../node/serve/api-error.js'
import { readJson } from '../../node/serve/json-body.js'
import { parseChatRequest, parseCompletionRequest } from '../../node/serve/request-schema.js'
import { parseTraceId, SwarmError } from '../../swarm/index.js'
import { hostileJson } from './manifests.js'
import type { Random } from './random.js'
import { type FuzzTarget, must } from './target.js'

const BODY_BYTES = 64 * 1024
const BODY_MS = 10_000

/** What programs send to `moeswarm serve`. */
export const HTTP_TARGETS: readonly FuzzTarget[] = [
  requests('chat-requests', '/v1/chat/completions', chatRequest, body => {
    const { messages, n = 1, top_p: topP = 1, stop = [] } = parseChatRequest(body)
    must(messages.length > 0 && messages.every(({ role, content }) => typeof role === 'string' && typeof content === 'string'), 'a message without a text')
    must(n >= 1 && n <= 16 && topP > 0 && topP <= 1 && stop.every(text => text !== ''), 'an option out of range')
  }),
  requests('completion-requests', '/v1/completions', completionRequest, body => {
    const { prompt, n = 1, max_tokens: maxTokens = 0 } = parseCompletionRequest(body)
    must(prompt.length > 0 && prompt.length <= 16 && n <= 16, 'more texts than one request may ask for')
    must(prompt.every(one => typeof one === 'string' || (one.length > 0 && one.every(id => Number.isSafeInteger(id) && id >= 0))), 'a token id that is none')
    must(Number.isSafeInteger(maxTokens) && maxTokens >= 0, 'a count that is none')
  }),
  {
    name: 'traceparents',
    reads: 'trace ids of the HTTP header and of the environment',
    share: 1,
    valid: random => Buffer.from(`${random.chance(0.3) ? '' : '00-'}${Buffer.from(random.bytes(16)).toString('hex')}${random.chance(0.3) ? '' : `-${Buffer.from(random.bytes(8)).toString('hex')}-01`}`),
    kinds: [0x30, 0x61],
    decode: input => {
      const id = parseTraceId(Buffer.from(input).toString('latin1'))
      if (id === undefined) throw new SwarmError('malformed', 'No trace id.', { reason: 'no trace id' })
      must(/^[0-9a-f]{32}$/.test(id) && !/^0+$/.test(id), 'a trace id that is none')
      return id.length
    },
    mayTake: bytes => bytes * 16
  }
]

/** Bodies of one path; `check` parses them and throws when what comes out is wrong. */
function requests (name: string, path: string, request: (random: Random) => object, check: (body: object) => void): FuzzTarget {
  return {
    name,
    reads: `bodies of ${path}`,
    share: 1,
    valid: random => bodyOf(random, request(random)),
    decode: async input => {
      check(await readBody(input))
      return input.length
    },
    refusal: error => error instanceof ApiError ? String(error.status) : undefined,
    // zod copies what it checks.
    mayTake: bytes => bytes * 64
  }
}

async function readBody (input: Uint8Array): Promise<object> {
  const request = Object.assign(Readable.from([Buffer.from(input)], { objectMode: false }), { headers: {} })
  return await readJson(request as unknown as IncomingMessage, BODY_BYTES, BODY_MS)
}

function bodyOf (random: Random, body: object): Uint8Array {
  const text = Buffer.from(JSON.stringify(body))
  return random.chance(0.5) ? text : hostileJson(random, text)
}

function common (random: Random): object {
  const options = { model: 'm', stream: random.chance(0.5), stream_options: { include_usage: true }, max_tokens: random.below(100), temperature: random.below(20) / 10, top_p: random.below(11) / 10, top_k: random.below(50), seed: random.below(1_000), n: 1 + random.below(4), stop: random.chance(0.5) ? 'x' : ['a', 'b'], presence_penalty: 0 }
  return Object.fromEntries(Object.entries(options).filter(() => random.chance(0.5)))
}

function chatRequest (random: Random): object {
  return {
    ...common(random),
    messages: Array.from({ length: 1 + random.below(3) }, () => random.of<object>([
      { role: 'system', content: 'Be short.' },
      { role: 'user', content: random.chance(0.5) ? 'One day' : [{ type: 'text', text: 'One ' }, { type: 'text', text: 'day' }] },
      { role: 'assistant', content: null, tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } }] },
      { role: 'tool', content: '3', tool_call_id: 'call_1' }
    ])),
    ...random.chance(0.3) && { logprobs: true, top_logprobs: random.below(6) },
    ...random.chance(0.3) && { tools: [{ type: 'function', function: { name: 'f', parameters: { type: 'object' } } }], tool_choice: 'auto' },
    ...random.chance(0.2) && { chat_template_kwargs: { enable_thinking: true } }
  }
}

function completionRequest (random: Random): object {
  const ids = (): number[] => Array.from({ length: 1 + random.below(4) }, () => random.below(1_000))
  return { ...common(random), prompt: random.of<unknown>(['One day', ['One', 'day'], ids(), [ids(), ids()]]), ...random.chance(0.3) && { logprobs: random.below(6), echo: true } }
}
