import { Bundle, type DraftChoice, type GenerateInit, type Generation, SwarmClient } from '../../node/index.js'
import { spread } from './figures.js'
import { ReplayDrafter } from './replay-drafter.js'

/** Openings of stories that were written for this bench: in no training text of model or drafter. */
const OPENINGS = [
  'One rainy morning a small blue snail named Pip found a broken umbrella near the pond. He',
  'Grandpa Otto had a clock that only ticked on Sundays. One Monday, his granddaughter Mia heard it tick and',
  'In a village by the sea lived a baker who was afraid of bread. Every day the children asked him',
  'The twins wanted to send a letter to the moon, but they had no stamp. "We need a plan," said'
]

/** Bounds of one measurement of decoding without drafts, in tokens. */
const MIN_TOKENS = 6
const MAX_TOKENS = 96
/**
 * Texts with drafts are never shorter: towards a text's end there is no room for long drafts, and a dozen tokens are but four laps. What they take is by so many
 * tokens a lap.
 */
const DRAFTED_TOKENS = 96
const USUAL_TOKENS_PER_LAP = 3
const PREFILL_TOKENS = 512
/** Laps from which a 99th percentile is read. */
export const TAIL_TOKENS = 150

/** What is switched on. */
export type Lever = 'none' | 'speculation' | 'local' | 'all'

export interface WanClients {
  remote: SwarmClient
  /** Holds half of the layers itself. */
  half: SwarmClient
  /** Drafts for both where no drafter knows the model. */
  replay?: ReplayDrafter
}

/** Opens both clients; with half of the layers local, those that are most remote: every second one. Of random weights, drafts are replayed. */
export async function openClients (model: string, bootstrap: string[], layers: number, random: boolean): Promise<WanClients> {
  const replay = random ? new ReplayDrafter((await Bundle.open(model)).config.vocabSize) : undefined
  const own = { model, bootstrap, wire: 'fp16', reusePrefixes: false, ...replay && { drafter: replay, assistant: false } } as const
  const localLayers = Array.from({ length: layers }, (_, layer) => layer).filter(layer => layer % 2 === 0)
  return {
    remote: await SwarmClient.open(own),
    half: await SwarmClient.open({ ...own, localLayers }),
    replay
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

/** Texts with drafts for a measurement of about `ms`, by different openings: how well drafters do depends on the text. */
function textsFor (lapMs: number, ms: number): number {
  return Math.max(1, Math.min(OPENINGS.length, Math.round(ms / (lapMs * DRAFTED_TOKENS / USUAL_TOKENS_PER_LAP))))
}

/** One text of as many tokens as take about `ms`, or whole texts with drafts where the lever has them. */
export async function decode (clients: WanClients, lever: Lever, opening: number, lapMs: number, ms: number): Promise<Decoded> {
  const drafted = under(lever, clients).drafts !== 'none'
  const [texts, tokens] = drafted ? [textsFor(lapMs, ms), DRAFTED_TOKENS] : [1, tokensFor(lapMs, ms)]
  const all: Generation[] = []
  for (let text = 0; text < texts; text++) all.push(await generated(clients, lever, opening + text, tokens))
  const sum = (of: (one: Generation) => number): number => all.reduce((total, one) => total + of(one), 0)
  const laps = sum(({ speculation }) => speculation.laps)
  return {
    tokensPerSecond: (tokens - 1) * texts / sum(({ tokensPerSecond }) => (tokens - 1) / tokensPerSecond),
    tokensPerLap: sum(({ speculation }) => speculation.laps * speculation.tokensPerLap) / laps,
    lapMs: sum(({ speculation, lap }) => speculation.laps * lap.total) / laps,
    firstTokenMs: all[0].firstTokenMs
  }
}

/** Lets the estimates get used to a distance, and the code get warm. */
export async function warmUp (clients: WanClients): Promise<void> {
  for (const lever of ['none', 'local'] as const) await generated(clients, lever, 0, MIN_TOKENS)
  for (const lever of ['speculation', 'all'] as const) await generated(clients, lever, 0, DRAFTED_TOKENS / 2)
}

/** Who generates, with what; `learn` is told of every text. */
function under (lever: Lever, { remote, half, replay }: WanClients): { client: SwarmClient, drafts: DraftChoice, learn: (of: Generation) => void } {
  return {
    client: lever === 'local' || lever === 'all' ? half : remote,
    drafts: lever === 'none' || lever === 'local' ? 'none' : replay === undefined ? 'auto' : 'own',
    learn: ({ promptTokens, tokens }) => { replay?.learn([...promptTokens, ...tokens]) }
  }
}

/** Has drafts that are replayed learn what there is to replay. */
export async function learnTexts (clients: WanClients): Promise<void> {
  if (clients.replay === undefined) return
  await Promise.all(OPENINGS.map(async (_, opening) => await generated(clients, 'none', opening, DRAFTED_TOKENS)))
}

/** Tokens a second of several sequences at a time, by different prompts: while all of them decode. NaN when one ended before another began. */
export async function aggregate (clients: WanClients, lever: Lever, sequences: number, tokens: number): Promise<number> {
  const { client, drafts, learn } = under(lever, clients)
  const times = await Promise.all(Array.from({ length: sequences }, async (_, at) => {
    const tokenTimes: number[] = []
    for await (const event of client.generate(client.encode(OPENINGS[at % OPENINGS.length]), generation(tokens, drafts))) {
      if (event.type === 'token') tokenTimes.push(performance.now())
      if (event.type === 'done') learn(event.generation)
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
  const { firstTokenMs } = await run(client, story, 1, 'none')
  return story.length / (firstTokenMs / 1_000)
}

/** The 99th percentile of the laps of a long answer; with `disturb` in its first quarter, so that getting used to it is part of it. */
export async function tailLapMs ({ remote }: WanClients, disturb?: () => Promise<void>): Promise<{ p99Ms: number, medianMs: number }> {
  const laps: number[] = []
  let before = NaN
  for await (const event of remote.generate(remote.encode(OPENINGS[0]), generation(TAIL_TOKENS, 'none'))) {
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
  for await (const event of remote.generate(remote.encode(OPENINGS[1]), generation(tokens, 'none'))) {
    if (event.type === 'token' && ++seen === Math.ceil(tokens / 4)) await disturb()
  }
  return seen / ((performance.now() - start) / 1_000)
}

async function generated (clients: WanClients, lever: Lever, opening: number, tokens: number): Promise<Generation> {
  const { client, drafts, learn } = under(lever, clients)
  const generation = await run(client, client.encode(OPENINGS[opening % OPENINGS.length]), tokens, drafts)
  learn(generation)
  return generation
}

async function run (client: SwarmClient, ids: number[], tokens: number, draft: DraftChoice): Promise<Generation> {
  for await (const event of client.generate(ids, generation(tokens, draft))) if (event.type === 'done') return event.generation
  throw new Error('the generation ended without a result')
}

function generation (maxTokens: number, draft: DraftChoice): GenerateInit {
  return { maxTokens, stopTokenIds: [], sampling: { temperature: 0, topK: 0, topP: 1, seed: 0 }, draft }
}
