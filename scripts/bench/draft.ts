import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Terminal, table } from '../../node/cli/terminal.js'
import { AttentionClient } from '../../node/client/attention-client.js'
import { generate, type Generation } from '../../node/client/generate.js'
import { LocalExperts } from '../../node/client/local-experts.js'
import type { SamplingOptions } from '../../node/client/sampler.js'
import { Assistant, type DraftChoice, DraftPolicy, LocalOnly, SelfDrafter, type SpeculationInit } from '../../node/client/speculation/index.js'
import { ExpertHost } from '../../node/host/expert-host.js'
import { Bundle, openText, WEIGHT_FORMATS } from '../../model-tools/index.js'
import { DEMO_CHECKPOINT, demoBundle } from '../demo-bundle.js'
import { oneOf, scriptOptions } from '../script-options.js'

const HELP = `npm run bench:draft [-- --quant q8 --json]

What share of their tokens drafters get right on the demo model, and whether the text stays the same. Counts only: what that is worth in time depends on the link.

  --quant <format>  of the demo bundle: ${WEIGHT_FORMATS.join(', ')} (default: q8)
`

/** Tokens of a draft, and of a text. */
const DRAFT_TOKENS = 4
const TEXT_TOKENS = 100

interface Prompt { ids: number[], chat: boolean }

const options = scriptOptions(HELP, { quant: { type: 'string', default: 'q8' } })
const quant = oneOf('quant', options.quant, WEIGHT_FORMATS)
const terminal = new Terminal(options)
const { prompts } = JSON.parse(readFileSync(join(DEMO_CHECKPOINT, 'reference.json'), 'utf8')) as { prompts: Prompt[] }
const bundle = await Bundle.open(await demoBundle(quant))
const { tokenizer } = await openText(bundle)
const host = await ExpertHost.load({ bundle, blocks: bundle.blocks, threads: 1 })
const experts = new LocalExperts(host)
const client = await AttentionClient.load({ bundle, dispatcher: experts, threads: 1 })
const assistant = await Assistant.load(bundle, 1)

async function write ({ ids }: Prompt, sampling: SamplingOptions, draft: DraftChoice, speculation: SpeculationInit): Promise<Generation> {
  const fixed = draft === 'none' ? undefined : DRAFT_TOKENS
  for await (const event of generate(client, () => tokenizer.stream(), ids, { maxTokens: TEXT_TOKENS, sampling, draft, draftTokens: fixed }, speculation)) {
    if (event.type === 'done') return event.generation
  }
  throw new Error('the generation ended without a result')
}

const half = new Set([...bundle.config.layerTypes.keys()].filter(layer => layer % 2 === 0))
const selves = { 'self, no local layer': new LocalOnly(new Set(), undefined), 'self, half of the layers': new LocalOnly(half, experts) }
const drafters: Array<[string, DraftChoice, SpeculationInit['drafters']]> = [
  ['lookup', 'lookup', {}],
  ['assistant', 'assistant', { assistant }],
  ...Object.entries(selves).map(([name, dispatcher]): [string, DraftChoice, SpeculationInit['drafters']] => [name, 'self', { self: new SelfDrafter(client, dispatcher) }])
]
const samplings: Array<[string, SamplingOptions]> = [
  ['greedy', { temperature: 0, topK: 0, topP: 1, seed: 0 }],
  ['sampled, T 0.8', { temperature: 0.8, topK: 0, topP: 1, seed: 7 }],
  ['sampled, as released', { ...bundle.config.sampling, seed: 7 }]
]

const rows: string[][] = []
for (const [how, sampling] of samplings) {
  for (const chat of [false, true]) {
    const own = prompts.filter(prompt => prompt.chat === chat)
    const plain = await Promise.all(own.map(async prompt => await write(prompt, sampling, 'none', { drafters: {}, policy: new DraftPolicy() })))
    for (const [name, draft, available] of drafters) {
      let [laps, accepted, same] = [0, 0, 0]
      const right = new Array<number>(DRAFT_TOKENS).fill(0)
      const judged = new Array<number>(DRAFT_TOKENS).fill(0)
      for (const [i, prompt] of own.entries()) {
        const { tokens, speculation } = await write(prompt, sampling, draft, { drafters: available, policy: new DraftPolicy() })
        laps += speculation.laps
        accepted += speculation.accepted
        const drafts = speculation.laps - (speculation.drafters.none?.laps ?? 0)
        speculation.acceptedByPosition.forEach((share, k) => {
          right[k] += share * drafts
          judged[k] += drafts
        })
        if (tokens.join() === plain[i].tokens.join()) same++
      }
      terminal.event('drafter', { sampling: how, prompts: chat ? 'chat' : 'story', drafter: name, tokensPerLap: (laps + accepted) / laps, right, judged, same, of: own.length })
      rows.push([how, chat ? 'chat' : 'story', name, ((laps + accepted) / laps).toFixed(2), right.map((count, k) => (count / Math.max(1, judged[k])).toFixed(2)).join(' '), `${same} of ${own.length}`])
    }
  }
}
terminal.result(`${table([`${quant}, ${DRAFT_TOKENS} tokens a draft`, 'prompts', 'drafter', 'tokens a lap', 'accepted by position', 'same text as without'], rows)}\n`)
await assistant?.close()
await client.close()
await host.stop()
