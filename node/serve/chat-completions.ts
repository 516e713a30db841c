import { randomUUID } from 'node:crypto'
import { invalid } from './api-error.js'
import { EventStream } from './event-stream.js'
import { type Answer, type Piece, runGeneration } from './generation-run.js'
import { chatLogProbabilities } from './log-probability-form.js'
import { type ApiCall, type ApiContext, generateOptions, sendJson, together, usage } from './request-context.js'
import { type ChatRequest, parseChatRequest } from './request-schema.js'

interface ToolCallForm { id: string, type: 'function', function: { name: string, arguments: string } }

/** `POST /v1/chat/completions` */
export async function chatCompletions (context: ApiContext, { body, response, traceId, signal }: ApiCall): Promise<void> {
  const request = parseChatRequest(body)
  const model = context.names.check(request.model)
  const { client } = context
  const tools = request.tool_choice === 'none' || request.tools?.length === 0 ? undefined : request.tools
  if (tools !== undefined && client.toolCalls === undefined) throw invalid('The chat template of this model knows no tools.', 'tools')
  const prompt = client.encodeChat(request.messages, { tools, variables: request.chat_template_kwargs })
  const n = request.n ?? 1
  const head = { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model, system_fingerprint: context.fingerprint }
  const slots = context.admission.admit(n, signal)
  const stream = request.stream === true ? new ChatStream(new EventStream(response), { ...head, object: 'chat.completion.chunk' }, request, context) : undefined

  const answers = await together(slots.map((slot, index) => async abort => {
    const { release, queuedMs } = await slot
    try {
      const answer = await runGeneration({
        client,
        monitor: context.monitor,
        onGenerate: context.onGenerate,
        traces: context.traces,
        traceId,
        queuedMs,
        prompt,
        options: {
          ...generateOptions(request, request.max_completion_tokens ?? request.max_tokens, context, abort, index),
          logProbabilities: request.logprobs === true ? request.top_logprobs ?? 0 : undefined
        },
        chat: true,
        onPrefill: stream?.prefill,
        onLate: stream?.late,
        onPiece: stream && (async piece => { await stream.piece(index, piece) })
      })
      await stream?.finish(index, answer)
      return answer
    } finally {
      release()
    }
  }), signal)

  const used = usage(answers.map(({ generation }) => generation), n)
  if (stream !== undefined) return await stream.end(used)
  sendJson(response, 200, {
    ...head,
    object: 'chat.completion',
    choices: answers.map((answer, index) => ({
      index,
      message: {
        role: 'assistant',
        content: answer.calls.length > 0 && answer.content === '' ? null : answer.content,
        refusal: null,
        ...(answer.calls.length > 0 && { tool_calls: answer.calls.map(toolCallForm) })
      },
      logprobs: request.logprobs === true ? { content: chatLogProbabilities(answer.logProbabilities, id => context.client.token(id)), refusal: null } : null,
      finish_reason: answer.finishReason
    })),
    usage: used
  })
}

function toolCallForm ({ name, arguments: args }: Piece['calls'][number]): ToolCallForm {
  return { id: `call_${randomUUID().replaceAll('-', '')}`, type: 'function', function: { name, arguments: JSON.stringify(args) } }
}

/** The choices of one request as chunks, interleaved as they come. */
class ChatStream {
  /** Calls sent of each choice that has begun. */
  private readonly begun = new Map<number, number>()
  private readonly withUsage: boolean

  constructor (private readonly events: EventStream, private readonly head: object, request: ChatRequest, private readonly context: ApiContext) {
    this.withUsage = request.stream_options?.include_usage === true
  }

  readonly prefill = async (done: number, total: number): Promise<void> => { await this.events.comment(`prompt ${done}/${total}`) }

  readonly late = async (tokens: number): Promise<void> => { await this.events.comment(`tokens ${tokens}`) }

  async piece (index: number, { content, calls, logProbabilities }: Piece): Promise<void> {
    await this.begin(index)
    const before = this.begun.get(index) ?? 0
    this.begun.set(index, before + calls.length)
    await this.chunk(index, {
      ...((content !== '' || calls.length === 0) && { content }),
      ...(calls.length > 0 && { tool_calls: calls.map((call, i) => ({ index: before + i, ...toolCallForm(call) })) })
    }, null, logProbabilities === undefined ? null : { content: chatLogProbabilities([logProbabilities], id => this.context.client.token(id)), refusal: null })
  }

  async finish (index: number, { finishReason }: Answer): Promise<void> {
    await this.begin(index)
    await this.chunk(index, {}, finishReason)
  }

  async end (used: object): Promise<void> {
    if (this.withUsage) await this.events.send({ ...this.head, choices: [], usage: used })
    await this.events.send('[DONE]')
    this.events.end()
  }

  private async begin (index: number): Promise<void> {
    if (this.begun.has(index)) return
    this.begun.set(index, 0)
    await this.chunk(index, { role: 'assistant', content: '' })
  }

  private async chunk (index: number, delta: object, finishReason: string | null = null, logprobs: object | null = null): Promise<void> {
    await this.events.send({ ...this.head, choices: [{ index, delta, logprobs, finish_reason: finishReason }], ...(this.withUsage && { usage: null }) })
  }
}
