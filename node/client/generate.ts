import { ModelError, type TextStream } from '../../model-tools/index.js'
import { Answer } from './answer.js'
import type { AttentionClient } from './attention-client.js'
import type { KvCache } from './kv-cache.js'
import { GenerationProfile, type LapTimes, type LayerTimes } from './lap-profile.js'
import { logProbabilities, type StepLogProbabilities } from './log-probabilities.js'
import type { Observation } from './observation.js'
import { prefill, type PrefillEvent } from './prefill.js'
import { Sampler, type SamplingOptions } from './sampler.js'
import { chain, confirmDraft, DraftPolicy, type SpeculationInit, type SpeculationOptions, type SpeculationSummary, Speculator } from './speculation/index.js'

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
  /** Who watches the laps, under which name. */
  observation?: Observation
  /** Tokens that were generated already: goes on behind them. @default none */
  generated?: readonly number[]
  /** Whether what came after the first reply of a peer that turns out to lie is thrown away and computed again. @default false */
  paranoid?: boolean
  /** Filled in as the generation goes on. @default one of its own */
  profile?: GenerationProfile
  signal?: AbortSignal
}

/** Who was caught giving wrong replies. */
export interface Verification {
  liars: () => ReadonlySet<string>
  /** Resolves when no comparison is under way any more. */
  settled: () => Promise<void>
}

/** Why a generation ended: a stop token or string, `maxTokens`, or the model's context. */
export type FinishReason = 'stop' | 'length' | 'context'

export interface Generation {
  promptTokens: number[]
  /** Of these, the first ones, which were in a kept cache and not computed again. */
  cachedTokens: number
  /** Generated ids, a stop token included. */
  tokens: number[]
  /** Of these, the first ones, which were given as `generated`. */
  restoredTokens: number
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
  /** The answer is this now: what came before is void. Goes on from saved tokens, or without what a liar had a part in. */
  | { type: 'restored', tokens: number[], text: string, because: 'resumed' | 'liar' }
  /** A peer was caught lying, and so many of its replies went uncompared into what this answer is computed from. They are computed again when told `paranoid`. */
  | { type: 'lied', peerId: string, replies: number, again: boolean }
  | { type: 'token', id: number, text: string, logProbabilities?: StepLogProbabilities }
  | { type: 'done', generation: Generation }

/**
 * Prefills the prompt in chunks, then decodes laps of the newest token and a draft, each of which gives one token or more. Ends after a 'done' event.
 * @throws ModelError 'out-of-range' for an empty prompt, one longer than the context, or an id outside the vocabulary; 'unsupported' for a drafter that is
 * not there
 * @param cache - holds the first tokens of the prompt, not all, or none
 * @param verification - says which peers turned out to lie
 */
export async function * generate (
  client: AttentionClient, newStream: () => TextStream, promptTokens: number[], options: GenerateOptions, speculation: SpeculationInit = { drafters: {}, policy: new DraftPolicy() },
  cache = client.newCache(), verification: Verification = NOBODY_LIES
): AsyncGenerator<GenerateEvent, void, void> {
  const { maxPositions, eosTokenIds, vocabSize, hiddenSize } = client.config
  const { maxTokens, generated = [], paranoid = false, profile = new GenerationProfile(), observation, signal } = options
  if (promptTokens.length === 0) throw new ModelError('out-of-range', 'The prompt is empty: give at least one token.')
  if (promptTokens.length + generated.length > maxPositions) {
    throw new ModelError('out-of-range', `The prompt has ${promptTokens.length} tokens, the model's context ends at ${maxPositions}: shorten the prompt.`, { tokens: promptTokens.length, maxPositions })
  }
  const answer = new Answer({ newStream, stop: options.stop ?? [], stopIds: new Set(options.stopTokenIds ?? eosTokenIds), maxTokens })
  answer.restore(generated)
  const restored = answer.tokens.length
  const sampler = new Sampler(options.sampling)
  let speculator = new Speculator(speculation, vocabSize, options)
  const cachedTokens = profile.cachedTokens = cache.length
  const { prefill: prefilling, decode } = profile
  const start = profile.startedAt = performance.now()
  let firstTokenAt: number | undefined
  const told = new Set<string>()
  if (restored > 0) yield { type: 'restored', tokens: [...answer.tokens], text: answer.text, because: 'resumed' }

  for (;;) {
    const context = { tokens: [...promptTokens, ...answer.tokens], cache, state: new Float32Array(0) as Float32Array, pick: (logits: Float32Array, position: number) => sampler.sample(logits, position), signal, likely: sampler.likely.bind(sampler) }
    for (const token of context.tokens) speculator.push(token)
    let rows = yield * prefill(client, cache, context.tokens, { profile: prefilling, observation, signal })
    context.state = rows.states
    const logitsOf = (row: number): Float32Array => rows.logits.subarray(row * vocabSize, (row + 1) * vocabSize)
    let chosen = answer.finishReason === undefined ? confirmDraft(chain([]), row => context.pick(logitsOf(row), context.tokens.length)) : { tokens: [], rows: [] }
    let taint: number | undefined
    for (;;) {
      taint = yield * lies(cache, verification.liars(), told, paranoid)
      if (taint !== undefined) break
      for (const [i, id] of chosen.tokens.entries()) {
        context.tokens.push(id)
        speculator.push(id)
        firstTokenAt ??= performance.now()
        const text = answer.push(id)
        yield {
          type: 'token', id, text,
          ...(options.logProbabilities !== undefined && { logProbabilities: logProbabilities(logitsOf(chosen.rows[i]), id, options.logProbabilities) })
        }
        if (answer.finishReason !== undefined) break
      }
      if (answer.finishReason === undefined && cache.length === maxPositions) answer.finishReason = 'context'
      if (answer.finishReason !== undefined) break

      const draft = await speculator.draft(context, Math.min(maxTokens - answer.tokens.length, maxPositions - cache.length) - 1, client.decodingLaps + 1)
      const lapStart = performance.now()
      const { length: before } = cache
      rows = await client.lap([context.tokens[context.tokens.length - 1], ...draft.tokens], cache, { wanted: 'all', parents: draft.parents, profile: decode, observation, signal })
      chosen = confirmDraft(draft, (row, depth) => context.pick(logitsOf(row), context.tokens.length + depth))
      cache.keep(before, chosen.rows)
      const last = chosen.rows[chosen.rows.length - 1]
      context.state = rows.states.subarray(last * hiddenSize, (last + 1) * hiddenSize)
      draft.done(chosen.rows.slice(1).map(row => row - 1), performance.now() - lapStart, rows.spent)
    }
    if (taint === undefined) {
      if (paranoid) await verification.settled()
      taint = yield * lies(cache, verification.liars(), told, paranoid)
      if (taint === undefined) break
    }
    // The lap at this position is the first that cannot be believed; its own token comes from one that can.
    cache.rewind(taint)
    answer.restore(answer.tokens.slice(0, Math.max(0, taint + 1 - promptTokens.length)))
    speculator = new Speculator(speculation, vocabSize, options)
    yield { type: 'restored', tokens: [...answer.tokens], text: answer.text, because: 'liar' }
  }
  const made = answer.tokens.length - restored
  const decodeSeconds = (performance.now() - (firstTokenAt ?? start)) / 1000
  yield {
    type: 'done',
    generation: {
      promptTokens,
      cachedTokens,
      tokens: answer.tokens,
      restoredTokens: restored,
      text: answer.end(),
      finishReason: answer.finishReason ?? 'length',
      tokensPerSecond: made > 1 ? (made - 1) / decodeSeconds : 0,
      firstTokenMs: (firstTokenAt ?? start) - start,
      lap: decode.mean(),
      prefillLap: prefilling.mean(),
      layers: decode.layers(),
      prefillLayers: prefilling.layers(),
      speculation: speculator.record.summary()
    }
  }
}

const NOBODY_LIES: Verification = { liars: () => new Set(), settled: async () => {} }

/** Tells of each liar once that has a part in what is computed so far; returns the first position to compute again, where that shall be done. */
function * lies (cache: KvCache, liars: ReadonlySet<string>, told: Set<string>, paranoid: boolean): Generator<GenerateEvent, number | undefined, void> {
  if (liars.size === 0) return undefined
  for (const peerId of liars) {
    const part = cache.contributors.of(peerId)
    if (part === undefined || told.has(peerId)) continue
    told.add(peerId)
    yield { type: 'lied', peerId, replies: part.replies, again: paranoid }
  }
  return paranoid ? cache.contributors.firstOf(liars) : undefined
}
