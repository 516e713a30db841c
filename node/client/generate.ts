import { ModelError, type TextStream } from '../../model-tools/index.js'
import type { ExpertDispatcher } from '../../swarm/index.js'
import type { AttentionClient } from './attention-client.js'
import { LapProfile, type LapTimes, type LayerTimes } from './lap-profile.js'
import { logProbabilities, type StepLogProbabilities } from './log-probabilities.js'
import { prefill, type PrefillEvent } from './prefill.js'
import { Sampler, type SamplingOptions } from './sampler.js'
import { chain, confirmDraft, DraftPolicy, type SpeculationInit, type SpeculationOptions, type SpeculationSummary, Speculator } from './speculation/index.js'
import { StopStrings } from './stop-strings.js'

export interface GenerateOptions extends SpeculationOptions {
  /** Tokens to generate at most. */
  maxTokens: number
  sampling: SamplingOptions
  /** Tokens that end the text. @default the model's */
  stopTokenIds?: number[]
  /** Strings that end the text, across tokens too; neither they nor what follows is part of it. @default none */
  stop?: string[]
  /** Tell the log-probability of each token, and of as many of the most likely ones. @default not told */
  logProbabilities?: number
  /** Computes the experts. @default the client's */
  dispatcher?: ExpertDispatcher
  signal?: AbortSignal
}

/** Why a generation ended: a stop token or string, `maxTokens`, or the model's context. */
export type FinishReason = 'stop' | 'length' | 'context'

export interface Generation {
  promptTokens: number[]
  /** Of these, the first ones, which were in a kept cache and not computed again. */
  cachedTokens: number
  /** Generated ids, a stop token included. */
  tokens: number[]
  text: string
  finishReason: FinishReason
  /** Decoding only: tokens after the first, over the time since the first. */
  tokensPerSecond: number
  /** From the call to the first token, in milliseconds. */
  firstTokenMs: number
  /** Mean of the decoding laps. */
  lap: LapTimes
  /** Mean of the prefill laps, of one chunk each; several are under way at a time. */
  prefillLap: LapTimes
  /** The same by layer. */
  layers: LayerTimes[]
  prefillLayers: LayerTimes[]
  speculation: SpeculationSummary
}

export type GenerateEvent =
  | PrefillEvent
  /** `text` may be empty: a character that spans tokens comes with its last one, and what may become a stop string when it did not. */
  | { type: 'token', id: number, text: string, logProbabilities?: StepLogProbabilities }
  | { type: 'done', generation: Generation }

/**
 * Prefills the prompt in chunks, then decodes laps of the newest token and a draft, each of which gives one token or more. Ends after a 'done' event.
 * @throws ModelError 'out-of-range' for an empty prompt, one longer than the context, or an id outside the vocabulary; 'unsupported' for a drafter that is
 * not there
 * @param cache - holds the first tokens of the prompt, not all, or none
 */
export async function * generate (
  client: AttentionClient, stream: TextStream, promptTokens: number[], options: GenerateOptions, speculation: SpeculationInit = { drafters: {}, policy: new DraftPolicy() }, cache = client.newCache()
): AsyncGenerator<GenerateEvent, void, void> {
  const { maxPositions, eosTokenIds, vocabSize, hiddenSize } = client.config
  const { maxTokens, dispatcher, signal } = options
  if (promptTokens.length === 0) throw new ModelError('out-of-range', 'The prompt is empty: give at least one token.')
  if (promptTokens.length > maxPositions) {
    throw new ModelError('out-of-range', `The prompt has ${promptTokens.length} tokens, the model's context ends at ${maxPositions}: shorten the prompt.`, { tokens: promptTokens.length, maxPositions })
  }
  const stopIds = new Set(options.stopTokenIds ?? eosTokenIds)
  const stops = new StopStrings(options.stop ?? [])
  const sampler = new Sampler(options.sampling)
  const speculator = new Speculator(speculation, vocabSize, options)
  const cachedTokens = cache.length
  const prefilling = new LapProfile()
  const decode = new LapProfile()
  const start = performance.now()
  let rows = yield * prefill(client, cache, promptTokens, { profile: prefilling, dispatcher, signal })

  const context = { tokens: [...promptTokens], cache, state: rows.states, pick: (logits: Float32Array, position: number) => sampler.sample(logits, position), signal, likely: sampler.likely.bind(sampler) }
  for (const token of promptTokens) speculator.push(token)
  const logitsOf = (row: number): Float32Array => rows.logits.subarray(row * vocabSize, (row + 1) * vocabSize)

  const tokens: number[] = []
  let text = ''
  let firstTokenAt = start
  let finishReason: FinishReason | undefined = maxTokens < 1 ? 'length' : undefined
  let chosen = finishReason === undefined ? confirmDraft(chain([]), row => context.pick(logitsOf(row), context.tokens.length)) : { tokens: [], rows: [] }
  for (;;) {
    for (const [i, id] of chosen.tokens.entries()) {
      tokens.push(id)
      context.tokens.push(id)
      speculator.push(id)
      if (tokens.length === 1) firstTokenAt = performance.now()
      const piece = stops.push(stopIds.has(id) ? '' : stream.push(id))
      text += piece.text
      if (piece.stopped || stopIds.has(id)) finishReason = 'stop'
      else if (tokens.length >= maxTokens) finishReason = 'length'
      yield {
        type: 'token', id, text: piece.text,
        ...(options.logProbabilities !== undefined && { logProbabilities: logProbabilities(logitsOf(chosen.rows[i]), id, options.logProbabilities) })
      }
      if (finishReason !== undefined) break
    }
    if (finishReason === undefined && cache.length === maxPositions) finishReason = 'context'
    if (finishReason !== undefined) break

    const draft = await speculator.draft(context, Math.min(maxTokens - tokens.length, maxPositions - cache.length) - 1)
    const lapStart = performance.now()
    const { length: before } = cache
    rows = await client.lap([context.tokens[context.tokens.length - 1], ...draft.tokens], cache, { wanted: 'all', parents: draft.parents, profile: decode, dispatcher, signal })
    chosen = confirmDraft(draft, (row, depth) => context.pick(logitsOf(row), context.tokens.length + depth))
    cache.keep(before, chosen.rows)
    const last = chosen.rows[chosen.rows.length - 1]
    context.state = rows.states.subarray(last * hiddenSize, (last + 1) * hiddenSize)
    draft.done(chosen.rows.slice(1).map(row => row - 1), performance.now() - lapStart)
  }
  const rest = stops.push(stream.end()).text + stops.end()
  const decodeSeconds = (performance.now() - firstTokenAt) / 1000
  yield {
    type: 'done',
    generation: {
      promptTokens,
      cachedTokens,
      tokens,
      text: text + rest,
      finishReason,
      tokensPerSecond: tokens.length > 1 ? (tokens.length - 1) / decodeSeconds : 0,
      firstTokenMs: firstTokenAt - start,
      lap: decode.mean(),
      prefillLap: prefilling.mean(),
      layers: decode.layers(),
      prefillLayers: prefilling.layers(),
      speculation: speculator.record.summary()
    }
  }
}
