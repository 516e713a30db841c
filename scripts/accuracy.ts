import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { argmax } from '../node/client/sampler.js'
import { LapProfile } from '../node/client/lap-profile.js'
import { table, Terminal } from '../node/cli/terminal.js'
import { SwarmClient, SwarmPeer, type WireDtype } from '../node/index.js'
import type { WeightFormat } from '../model-tools/index.js'
import { DEMO_CHECKPOINT, demoBundle } from './demo-bundle.js'
import { scriptOptions } from './script-options.js'

const HELP = `npm run accuracy [-- --json]

What quantised weights and short forms on the wire cost, against the f32 bundle all local.
`

interface Variant {
  quant: WeightFormat
  /** Undefined: all local. */
  wire?: WireDtype
}

interface Text {
  ids: number[]
  /** Positions before this are given; from here on a greedy continuation is compared. */
  promptLength: number
}

const VARIANTS: Variant[] = [
  { quant: 'f32' }, { quant: 'f16' }, { quant: 'q8' }, { quant: 'q4' }, { quant: 'u4' },
  { quant: 'f32', wire: 'fp32' }, { quant: 'f32', wire: 'fp16' }, { quant: 'f32', wire: 'int8' }, { quant: 'q8', wire: 'fp16' }, { quant: 'q4', wire: 'int8' }, { quant: 'u4', wire: 'int8' }
]
const PEER_LAYERS = ['0-3', '2-5', '0-1,4-5']
const CHUNK = 64

const terminal = new Terminal(scriptOptions(HELP, {}))
const reference = JSON.parse(readFileSync(join(DEMO_CHECKPOINT, 'reference.json'), 'utf8')) as {
  prompts: Array<{ ids: number[], greedy_ids: number[] }>
  long: { ids: number[] }
}
const texts: Text[] = [
  ...reference.prompts.map(({ ids, greedy_ids: greedy }) => ({ ids: [...ids, ...greedy], promptLength: ids.length })),
  { ids: reference.long.ids, promptLength: reference.long.ids.length }
]

let baseline: Float32Array[] | undefined
const rows: string[][] = []
for (const { quant, wire } of VARIANTS) {
  const bundle = await demoBundle(quant)
  await withClient(bundle, wire, async client => {
    const logits = await teacherForced(client)
    baseline ??= logits
    const figures = compare(baseline, logits)
    const equalTokens = await greedyAgreement(client)
    terminal.event('variant', { quant, wire: wire ?? 'local', ...figures, equalTokens })
    rows.push([quant, wire ?? 'local', percent(equalTokens), percent(figures.equalBest), figures.meanKl.toExponential(2), figures.maxLogitError.toExponential(2)])
  })
}
terminal.result(`${table(['bundle', 'wire', 'greedy tokens equal', 'best token equal', 'mean KL (nats)', 'max logit error'], rows)}\n
Against the f32 bundle, all local. "greedy tokens": own continuations of the ${reference.prompts.length} reference prompts, compared place by place with the reference's;
"best token", KL divergence of the next-token distribution and logit error: the same ${texts.reduce((n, text) => n + text.ids.length, 0)} positions given to each.\n`)

async function withClient (model: string, wire: WireDtype | undefined, use: (client: SwarmClient) => Promise<void>): Promise<void> {
  const peers: SwarmPeer[] = []
  if (wire !== undefined) {
    for (const layers of PEER_LAYERS) peers.push(await SwarmPeer.start({ model, layers, threads: 1, bootstrap: peers.slice(0, 1).map(first => first.addresses[0]) }))
  }
  const client = await SwarmClient.open({ model, wire, bootstrap: peers.slice(0, 1).map(peer => peer.addresses[0]), localLayers: wire === undefined ? 'all' : [] })
  try {
    await use(client)
  } finally {
    await client.close()
    for (const peer of peers.reverse()) await peer.stop()
  }
}

/** Logits of every position of every text. */
async function teacherForced (client: SwarmClient): Promise<Float32Array[]> {
  const rows: Float32Array[] = []
  for (const { ids } of texts) await client.logits(ids, CHUNK, (_, logits) => { rows.push(logits.slice()) }, new LapProfile())
  return rows
}

async function greedyAgreement (client: SwarmClient): Promise<number> {
  let equal = 0
  let total = 0
  for (const { ids, greedy_ids: expected } of reference.prompts) {
    for await (const event of client.generate(ids, { maxTokens: expected.length, stopTokenIds: [], sampling: { temperature: 0, topK: 0, topP: 1, seed: 0 }, draft: 'none' })) {
      if (event.type !== 'done') continue
      equal += event.generation.tokens.filter((id, i) => id === expected[i]).length
      total += expected.length
    }
  }
  return equal / total
}

function compare (baseline: Float32Array[], logits: Float32Array[]): { equalBest: number, meanKl: number, maxLogitError: number } {
  let equal = 0
  let kl = 0
  let maxLogitError = 0
  logits.forEach((row, i) => {
    if (argmax(row) === argmax(baseline[i])) equal++
    const p = logSoftmax(baseline[i])
    const q = logSoftmax(row)
    for (let id = 0; id < row.length; id++) {
      kl += Math.exp(p[id]) * (p[id] - q[id])
      maxLogitError = Math.max(maxLogitError, Math.abs(row[id] - baseline[i][id]))
    }
  })
  return { equalBest: equal / logits.length, meanKl: kl / logits.length, maxLogitError }
}

function logSoftmax (logits: Float32Array): Float64Array {
  const most = logits.reduce((a, b) => Math.max(a, b))
  const sum = logits.reduce((total, z) => total + Math.exp(z - most), 0)
  return Float64Array.from(logits, z => z - most - Math.log(sum))
}

function percent (share: number): string {
  return `${(100 * share).toFixed(1)} %`
}
