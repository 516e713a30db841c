import { type GenerateInit, type Generation, SwarmClient } from '../../node/index.js'
import { spread } from './figures.js'

/** Openings of stories that were written for this bench: in no training text of model or drafter. */
const OPENINGS = [
  'One rainy morning a small blue snail named Pip found a broken umbrella near the pond. He',
  'Grandpa Otto had a clock that only ticked on Sundays. One Monday, his granddaughter Mia heard it tick and',
  'In a village by the sea lived a baker who was afraid of bread. Every day the children asked him',
  'The twins wanted to send a letter to the moon, but they had no stamp. "We need a plan," said'
]

/** Bounds of one measurement of decoding, in tokens. */
const MIN_TOKENS = 6
const MAX_TOKENS = 96
const PREFILL_TOKENS = 512
/** Laps from which a 99th percentile is read. */
export const TAIL_TOKENS = 150

/** What is switched on. */
export type Lever = 'none' | 'speculation' | 'local' | 'all'

export interface WanClients {
  remote: SwarmClient
  /** Holds half of the layers itself. */
  half: SwarmClient
}

/** Opens both clients; with half of the layers local, those that are most remote: every second one. */
export async function openClients (model: string, bootstrap: string[], layers: number): Promise<WanClients> {
  const localLayers = Array.from({ length: layers }, (_, layer) => layer).filter(layer => layer % 2 === 0)
  return {
    remote: await SwarmClient.open({ model, bootstrap, wire: 'fp16', reusePrefixes: false }),
    half: await SwarmClient.open({ model, bootstrap, wire: 'fp16', localLayers, reusePrefixes: false })
  }
}

export interface Decoded {
  tokensPerSecond: number
  tokensPerLap: number
  lapMs: number
  firstTokenMs: number
}

/** Tokens for a measurement of about `ms` whose laps take about so long. */
export function tokensFor (lapMs: number, ms: number): number {
  return Math.max(MIN_TOKENS, Math.min(MAX_TOKENS, Math.round(ms / lapMs)))
}

export async function decode (clients: WanClients, lever: Lever, prompt: number, tokens: number): Promise<Decoded> {
  const { client, drafts } = under(lever, clients)
  const { tokensPerSecond, lap, firstTokenMs, speculation } = await generated(client, prompt, tokens, drafts)
  return { tokensPerSecond, lapMs: lap.total, tokensPerLap: speculation.tokensPerLap, firstTokenMs }
}

function under (lever: Lever, { remote, half }: WanClients): { client: SwarmClient, drafts: boolean } {
  return { client: lever === 'local' || lever === 'all' ? half : remote, drafts: lever === 'speculation' || lever === 'all' }
}

/** Tokens a second of several sequences at a time, by different prompts: while all of them decode. NaN when one ended before another began. */
export async function aggregate (clients: WanClients, lever: Lever, sequences: number, tokens: number): Promise<number> {
  const { client, drafts } = under(lever, clients)
  const times = await Promise.all(Array.from({ length: sequences }, async (_, at) => {
    const tokenTimes: number[] = []
    for await (const event of client.generate(client.encode(OPENINGS[at % OPENINGS.length]), generation(tokens, drafts))) {
      if (event.type === 'token') tokenTimes.push(performance.now())
    }
    return tokenTimes
  }))
  const from = Math.max(...times.map(([first]) => first))
  const to = Math.min(...times.map(of => of[of.length - 1]))
  return to <= from ? NaN : times.flat().filter(at => at > from && at <= to).length / ((to - from) / 1_000)
}

/** Tokens a second of a long prompt, up to the first token of the answer. */
export async function prefill (clients: WanClients, lever: Lever): Promise<number> {
  const { client } = under(lever, clients)
  const story = client.encode(OPENINGS.join(' ').repeat(12)).slice(0, PREFILL_TOKENS)
  const { firstTokenMs } = await run(client, story, 1, false)
  return story.length / (firstTokenMs / 1_000)
}

/** The 99th percentile of the laps of a long answer; with `disturb` in its first quarter, so that getting used to it is part of it. */
export async function tailLapMs ({ remote }: WanClients, disturb?: () => Promise<void>): Promise<{ p99Ms: number, medianMs: number }> {
  const laps: number[] = []
  let before = NaN
  for await (const event of remote.generate(remote.encode(OPENINGS[0]), generation(TAIL_TOKENS, false))) {
    if (event.type !== 'token') continue
    const now = performance.now()
    if (!Number.isNaN(before)) laps.push(now - before)
    before = now
    if (laps.length === TAIL_TOKENS / 5) {
      await disturb?.()
      before = performance.now()
    }
  }
  const sorted = laps.sort((a, b) => a - b)
  return { p99Ms: sorted[Math.floor(sorted.length * 0.99)], medianMs: spread(sorted).median }
}

/** Tokens a second of an answer during which something happens after a quarter of its tokens. */
export async function disturbed ({ remote }: WanClients, tokens: number, disturb: () => Promise<void>): Promise<number> {
  let seen = 0
  const start = performance.now()
  for await (const event of remote.generate(remote.encode(OPENINGS[1]), generation(tokens, false))) {
    if (event.type === 'token' && ++seen === Math.ceil(tokens / 4)) await disturb()
  }
  return seen / ((performance.now() - start) / 1_000)
}

async function generated (client: SwarmClient, prompt: number, tokens: number, drafts: boolean): Promise<Generation> {
  return await run(client, client.encode(OPENINGS[prompt % OPENINGS.length]), tokens, drafts)
}

async function run (client: SwarmClient, ids: number[], tokens: number, drafts: boolean): Promise<Generation> {
  for await (const event of client.generate(ids, generation(tokens, drafts))) if (event.type === 'done') return event.generation
  throw new Error('the generation ended without a result')
}

function generation (maxTokens: number, drafts: boolean): GenerateInit {
  return { maxTokens, stopTokenIds: [], sampling: { temperature: 0, topK: 0, topP: 1, seed: 0 }, draft: drafts ? 'auto' : 'none' }
}
