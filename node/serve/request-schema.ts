import { z } from 'zod'
import type { ChatMessage } from '../../model-tools/index.js'
import { MAX_TOP_LOG_PROBABILITIES } from '../client/log-probabilities.js'
import { invalid } from './api-error.js'

/** Texts that one request may ask for. */
const MAX_CHOICES = 16
const MAX_STOPS = 16
/** A smaller top_p keeps one token all the same. */
const MIN_TOP_P = Number.EPSILON

/** Absent, null, or what `allows` allows. */
const anything = (allows: (value: unknown) => boolean, message: string): z.ZodType => z.unknown().optional().refine(value => value == null || allows(value), message)

/** An option that we know and cannot honour: refused unless it asks for nothing. */
const unsupported = (...neutral: unknown[]): z.ZodType => anything(value => neutral.includes(value), 'is not supported by this server; leave it out')

/** OpenAI's clients send null for what is not given. */
const optional = <T extends z.ZodType>(type: T): z.ZodType<z.output<T> | undefined> => type.nullish().transform(value => value ?? undefined)

const stop = z.union([z.string().min(1).transform(text => [text]), z.array(z.string().min(1)).max(MAX_STOPS)])

const common = {
  model: optional(z.string()),
  stream: optional(z.boolean()),
  stream_options: optional(z.object({ include_usage: optional(z.boolean()) })),
  max_tokens: optional(z.int().min(0)),
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(z.number().min(0).max(1).transform(p => Math.max(p, MIN_TOP_P))),
  /** Not in OpenAI's API, but in everybody else's. */
  top_k: optional(z.int().min(0)),
  seed: optional(z.int()),
  stop: optional(stop),
  n: optional(z.int().min(1).max(MAX_CHOICES)),
  presence_penalty: unsupported(0),
  frequency_penalty: unsupported(0),
  logit_bias: anything(value => typeof value === 'object' && Object.keys(value as object).length === 0, 'is not supported by this server; leave it out')
}

const content = z.union([
  z.string(),
  z.array(z.object({ type: z.literal('text', 'only text is understood'), text: z.string() })).transform(parts => parts.map(({ text }) => text).join(''))
])

const callArguments = z.string().transform((text, context): Record<string, unknown> => {
  try {
    const value: unknown = JSON.parse(text === '' ? '{}' : text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch { /* the issue below says it */ }
  context.addIssue({ code: 'custom', message: 'is not the JSON text of an object' })
  return z.NEVER
})

const message = z.discriminatedUnion('role', [
  z.object({ role: z.enum(['system', 'developer', 'user']), content, name: optional(z.string()) }),
  z.object({
    role: z.literal('assistant'),
    content: content.nullish().transform(text => text ?? ''),
    tool_calls: optional(z.array(z.object({ id: z.string(), type: z.literal('function'), function: z.object({ name: z.string(), arguments: callArguments }) })))
  }),
  z.object({ role: z.literal('tool'), content, tool_call_id: z.string(), name: optional(z.string()) })
])

const chat = z.object({
  ...common,
  messages: z.array(message).min(1),
  max_completion_tokens: optional(z.int().min(1)),
  logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int().min(0).max(MAX_TOP_LOG_PROBABILITIES)),
  tools: optional(z.array(z.looseObject({ type: z.literal('function'), function: z.looseObject({ name: z.string().min(1) }) }))),
  tool_choice: anything(value => value === 'auto' || value === 'none', 'can be "auto" or "none" here: a model cannot be made to call'),
  response_format: anything(value => typeof value === 'object' && (value as { type?: unknown }).type === 'text', 'can be text only'),
  /** Further variables of the model's chat template, such as `enable_thinking`; vLLM and llama.cpp have it too. */
  chat_template_kwargs: optional(z.record(z.string(), z.unknown())),
  functions: unsupported(),
  function_call: unsupported('none')
}).refine(({ logprobs, top_logprobs }) => top_logprobs === undefined || logprobs === true, { path: ['top_logprobs'], message: 'goes with logprobs: true' })

const tokens = z.array(z.int().min(0)).min(1)

const completion = z.object({
  ...common,
  prompt: z.union([z.string().transform(text => [text]), tokens.transform(ids => [ids]), z.array(z.string()).min(1).max(MAX_CHOICES), z.array(tokens).min(1).max(MAX_CHOICES)]),
  logprobs: optional(z.int().min(0).max(MAX_TOP_LOG_PROBABILITIES)),
  echo: optional(z.boolean()),
  suffix: unsupported(''),
  best_of: unsupported(1)
})

export type ChatRequest = Omit<z.output<typeof chat>, 'messages'> & { messages: ChatMessage[] }
export type CompletionRequest = z.output<typeof completion>
/** What both kinds of requests have. */
export type CommonRequest = Pick<ChatRequest, 'model' | 'stream' | 'stream_options' | 'max_tokens' | 'temperature' | 'top_p' | 'top_k' | 'seed' | 'stop' | 'n'>

/** Fields that we do not know are let pass, as clients send what other servers take. @throws ApiError 400 naming the field */
export function parseChatRequest (body: object): ChatRequest { return parse(chat, body) }

/** @throws ApiError 400 naming the field */
export function parseCompletionRequest (body: object): CompletionRequest { return parse(completion, body) }

function parse<T> (schema: z.ZodType<T>, body: object): T {
  const result = schema.safeParse(body)
  if (result.success) return result.data
  const [{ path, message }] = result.error.issues
  const param = path.map((part, i) => typeof part === 'number' ? `[${part}]` : `${i === 0 ? '' : '.'}${String(part)}`).join('')
  throw invalid(`'${param}': ${message}.`, param)
}
