import { randomUUID } from 'node:crypto'
import { LapProfile } from '../client/lap-profile.js'
import { logProbabilities, type StepLogProbabilities } from '../client/log-probabilities.js'
import { EventStream } from './event-stream.js'
import { type Answer, runGeneration } from './generation-run.js'
import { completionLogProbabilities } from './log-probability-form.js'
import { type ApiCall, type ApiContext, generateOptions, sendJson, together, usage } from './request-context.js'
import { type CompletionRequest, parseCompletionRequest } from './request-schema.js'

/** Tokens of a request that does not say how many, as in OpenAI's API. */
const DEFAULT_MAX_TOKENS = 16

/** Tokens of one lap when a prompt's log-probabilities are asked for. */
const ECHO_CHUNK = 64

/** A prompt as it stands in front of its answers when it is echoed. */
interface Echo {
  text: string
  steps: Array<StepLogProbabilities | { id: number }>
}

/** `POST /v1/completions` */
export async function completions (context: ApiContext, { body, response, traceId, signal }: ApiCall): Promise<void> {
  const request = parseCompletionRequest(body)
  const model = context.names.check(request.model)
  const { client } = context
  const prompts = request.prompt.map(prompt => typeof prompt === 'string' ? { text: prompt, ids: client.encode(prompt) } : { text: client.decode(prompt), ids: prompt })
  const n = request.n ?? 1
  const head = { id: `cmpl-${randomUUID()}`, object: 'text_completion', created: Math.floor(Date.now() / 1000), model, system_fingerprint: context.fingerprint }
  const slots = context.admission.admit(prompts.length * n, signal)
  const events = request.stream === true ? new EventStream(response) : undefined
  const withUsage = request.stream_options?.include_usage === true
  const chunk = async (index: number, text: string, steps: Echo['steps'] | undefined, offset: number, finishReason: string | null): Promise<void> => {
    await events?.send({ ...head, choices: [choice(context, index, text, steps, offset, finishReason)], ...(withUsage && { usage: null }) })
  }

  const results = await together(slots.map((slot, index) => async abort => {
    const { text, ids } = prompts[Math.floor(index / n)]
    const { release, queuedMs } = await slot
    try {
      const echo = request.echo === true ? await echoOf(context, request, text, ids, abort) : undefined
      if (echo !== undefined) await chunk(index, echo.text, request.logprobs === undefined ? undefined : echo.steps, 0, null)
      let offset = echo?.text.length ?? 0
      const answer = await runGeneration({
        client,
        monitor: context.monitor,
        onGenerate: context.onGenerate,
        traces: context.traces,
        traceId,
        queuedMs,
        prompt: ids,
        options: { ...generateOptions(request, request.max_tokens ?? DEFAULT_MAX_TOKENS, context, abort, index % n), logProbabilities: request.logprobs },
        chat: false,
        onPrefill: events && (async (done, total) => { await events.comment(`prompt ${done}/${total}`) }),
        onLate: events && (async tokens => { await events.comment(`tokens ${tokens}`) }),
        onPiece: events && (async piece => {
          await chunk(index, piece.content, piece.logProbabilities && [piece.logProbabilities], offset, null)
          offset += piece.content.length
        })
      })
      await chunk(index, '', undefined, offset, answer.finishReason)
      return { echo, answer }
    } finally {
      release()
    }
  }), signal)

  const used = usage(results.map(({ answer }) => answer.generation), n)
  if (events === undefined) return sendJson(response, 200, { ...head, choices: results.map(({ echo, answer }, index) => wholeChoice(context, request, index, echo, answer)), usage: used })
  if (withUsage) await events.send({ ...head, choices: [], usage: used })
  await events.send('[DONE]')
  events.end()
}

function wholeChoice (context: ApiContext, { logprobs }: CompletionRequest, index: number, echo: Echo | undefined, answer: Answer): object {
  const steps = logprobs === undefined ? undefined : [...echo?.steps ?? [], ...answer.logProbabilities]
  return choice(context, index, (echo?.text ?? '') + answer.content, steps, 0, answer.finishReason)
}

function choice ({ client }: ApiContext, index: number, text: string, steps: Echo['steps'] | undefined, offset: number, finishReason: string | null): object {
  return { index, text, logprobs: steps === undefined ? null : completionLogProbabilities(steps, id => client.token(id), offset), finish_reason: finishReason }
}

/** The prompt's text, and, where log-probabilities are asked for, those of its tokens, which a pass of their own computes. */
async function echoOf ({ client }: ApiContext, { logprobs }: CompletionRequest, text: string, ids: number[], signal: AbortSignal): Promise<Echo> {
  if (logprobs === undefined) return { text, steps: [] }
  const steps: Echo['steps'] = [{ id: ids[0] }]
  await client.logits(ids, ECHO_CHUNK, (position, logits) => {
    signal.throwIfAborted()
    if (position + 1 < ids.length) steps.push(logProbabilities(logits, ids[position + 1], logprobs))
  }, new LapProfile())
  return { text, steps }
}
