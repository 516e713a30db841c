import { type ToolCall, ToolCallReader } from '../../model-tools/index.js'
import type { GenerateEvent, Generation } from '../client/generate.js'
import type { StepLogProbabilities } from '../client/log-probabilities.js'
import type { GenerateInit, SwarmClient } from '../swarm-client.js'
import type { GenerationTraces } from '../trace/index.js'
import type { TrafficMonitor } from './traffic-monitor.js'

/** What a step of a generation adds to an answer. */
export interface Piece {
  content: string
  calls: Array<ToolCall['function']>
  logProbabilities?: StepLogProbabilities
}

type TokenEvent = Extract<GenerateEvent, { type: 'token' }>

/** A text that is done. */
export interface Answer {
  content: string
  calls: Array<ToolCall['function']>
  logProbabilities: StepLogProbabilities[]
  finishReason: 'stop' | 'length' | 'tool_calls'
  generation: Generation
}

export interface RunInit {
  client: SwarmClient
  monitor: TrafficMonitor
  prompt: number[]
  options: GenerateInit
  /** Whether calls of tools and thoughts are taken out of the text, for models whose chat template has them. */
  chat: boolean
  /** Called with each event of the generation, for metrics. */
  onGenerate?: (event: GenerateEvent) => void
  /** Where the generation's trace is kept for moeswarm explain. */
  traces?: GenerationTraces
  /** W3C trace id that names the generation. */
  traceId?: string
  /** What it has waited for its turn, in milliseconds. @default 0 */
  queuedMs?: number
  onPrefill?: (done: number, total: number) => Promise<void>
  /** Called for each piece that says something; the generation waits for it. */
  onPiece?: (piece: Piece) => Promise<void>
  /**
   * With the option `paranoid`: what has come so far is void, since a liar had a part in it; pieces begin anew. Without this all pieces come when the text is
   * whole, as none could be taken back.
   */
  onVoid?: () => void
  /** Called for each token whose piece comes later, so that a connection is not idle. */
  onLate?: (tokens: number) => Promise<void>
}

/** Generates one answer. Rejects as `SwarmClient.generate` does. */
export async function runGeneration ({ client, monitor, prompt, options, chat, onGenerate, traces, traceId, queuedMs, onPrefill, onPiece, onVoid, onLate }: RunInit): Promise<Answer> {
  const newReader = (): ToolCallReader | undefined => chat && client.toolCalls !== undefined ? new ToolCallReader(client.toolCalls) : undefined
  let reader = newReader()
  let answer: Omit<Answer, 'generation' | 'finishReason'> = { content: '', calls: [], logProbabilities: [] }
  const read = (text: string): Piece => reader?.push(text) ?? { content: text, calls: [] }
  const add = async (piece: Piece): Promise<void> => {
    answer.content += piece.content
    answer.calls.push(...piece.calls)
    if (piece.logProbabilities !== undefined) answer.logProbabilities.push(piece.logProbabilities)
    if (piece.content !== '' || piece.calls.length > 0 || piece.logProbabilities !== undefined) await onPiece?.(piece)
  }
  // What a liar had no part in is told again when the rest is void.
  const said: TokenEvent[] = []
  const { paranoid = false } = options
  const late = paranoid && onVoid === undefined
  let written = 0
  const show = async (event: TokenEvent): Promise<void> => {
    written += event.text.length
    // As in OpenAI's API, the token that ends the text is not one of its tokens.
    const ends = client.config.eosTokenIds.includes(event.id)
    await add({ ...read(event.text), ...(!ends && event.logProbabilities !== undefined && { logProbabilities: event.logProbabilities }) })
  }
  const watched = monitor.begin(prompt.length)
  const recorder = traces?.begin({ promptTokens: prompt.length, traceId, queuedMs })
  let failure: unknown
  try {
    for await (const event of client.generate(prompt, { ...options, traceId, ...recorder?.options, specialTokens: reader === undefined ? 'skip' : 'keep' })) {
      recorder?.onGenerate(event)
      onGenerate?.(event)
      if (event.type === 'prefill') {
        watched.prefill(event.done)
        await onPrefill?.(event.done, event.total)
      } else if (event.type === 'token') {
        watched.token()
        if (paranoid) said.push(event)
        await (late ? onLate?.(said.length) : show(event))
      } else if (event.type === 'restored') {
        said.length = event.tokens.length
        if (late) continue
        onVoid?.()
        reader = newReader()
        answer = { content: '', calls: [], logProbabilities: [] }
        written = 0
        for (const token of said) await show(token)
      } else if (event.type === 'done') {
        if (late) for (const token of said) await show(token)
        await add(read(event.generation.text.slice(written)))
        if (reader !== undefined) await add(reader.end())
        watched.done(event.generation)
        const finishReason = answer.calls.length > 0 ? 'tool_calls' : event.generation.finishReason === 'stop' ? 'stop' : 'length'
        return { ...answer, finishReason, generation: event.generation }
      }
    }
    throw new Error('a generation ended without a done event')
  } catch (error) {
    if (options.signal?.aborted !== true) failure = error
    throw error
  } finally {
    if (recorder !== undefined) traces?.end(recorder, client, failure)
    watched.end()
  }
}
