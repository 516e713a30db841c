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
  onPrefill?: (done: number, total: number) => Promise<void>
  /** Called for each piece that says something; the generation waits for it. */
  onPiece?: (piece: Piece) => Promise<void>
}

/** Generates one answer. Rejects as `SwarmClient.generate` does. */
export async function runGeneration ({ client, monitor, prompt, options, chat, onGenerate, traces, traceId, onPrefill, onPiece }: RunInit): Promise<Answer> {
  const reader = chat && client.toolCalls !== undefined ? new ToolCallReader(client.toolCalls) : undefined
  const answer: Omit<Answer, 'generation' | 'finishReason'> = { content: '', calls: [], logProbabilities: [] }
  const read = (text: string): Piece => reader?.push(text) ?? { content: text, calls: [] }
  const add = async (piece: Piece): Promise<void> => {
    answer.content += piece.content
    answer.calls.push(...piece.calls)
    if (piece.logProbabilities !== undefined) answer.logProbabilities.push(piece.logProbabilities)
    if (piece.content !== '' || piece.calls.length > 0 || piece.logProbabilities !== undefined) await onPiece?.(piece)
  }
  const watched = monitor.begin(prompt.length)
  const recorder = traces?.begin(traceId)
  let written = 0
  try {
    for await (const event of client.generate(prompt, { ...options, traceId: recorder?.traceId ?? traceId, onLayer: recorder?.onLayer, specialTokens: reader === undefined ? 'skip' : 'keep' })) {
      recorder?.onGenerate(event)
      onGenerate?.(event)
      if (event.type === 'prefill') {
        watched.prefill(event.done)
        await onPrefill?.(event.done, event.total)
      } else if (event.type === 'token') {
        watched.token()
        written += event.text.length
        // As in OpenAI's API, the token that ends the text is not one of its tokens.
        const ends = client.config.eosTokenIds.includes(event.id)
        await add({ ...read(event.text), ...(!ends && event.logProbabilities !== undefined && { logProbabilities: event.logProbabilities }) })
      } else if (event.type === 'done') {
        await add(read(event.generation.text.slice(written)))
        if (reader !== undefined) await add(reader.end())
        watched.done(event.generation)
        const finishReason = answer.calls.length > 0 ? 'tool_calls' : event.generation.finishReason === 'stop' ? 'stop' : 'length'
        return { ...answer, finishReason, generation: event.generation }
      }
    }
    throw new Error('a generation ended without a done event')
  } finally {
    if (recorder !== undefined) traces?.end(recorder, client)
    watched.end()
  }
}
