import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Bundle, WEIGHT_FORMATS } from '../model-tools/index.js'
import { AttentionClient } from '../node/client/attention-client.js'
import { table, Terminal } from '../node/cli/terminal.js'
import { LocalExperts } from '../node/client/local-experts.js'
import { ExpertHost } from '../node/host/expert-host.js'
import { TOLERANCE_MARGIN, tolerancesOf } from '../node/tolerances.js'
import { deviation, type ExpertBatch, type ExpertDispatcher, type WireDtype } from '../swarm/index.js'
import { readRows, rowBytes, writeRows } from '../swarm/expert/rows.js'
import { DEMO_CHECKPOINT, demoBundle } from './demo-bundle.js'
import { PlainExperts } from './plain-experts.js'
import { count, scriptOptions } from './script-options.js'

const HELP = `npm run deviation [-- --model DIR --tokens 256 --json]

How far the replies of honest peers are apart, by weight format and form on the wire, and the tolerance that follows. Implementations that differ: one token
alone, many merged and split over two workers, and plain arithmetic of JavaScript in f64 over the decoded weights, which stands for every kernel that is not ours.
Each gets the request in each form and answers in that form.

  --model <dir>  another bundle than the demo model's
  --tokens <n>   of the text (default: 256)
`

const WIRES: readonly WireDtype[] = ['fp32', 'fp16', 'int8']
const CHUNK = 32

const args = scriptOptions(HELP, { model: { type: 'string' }, tokens: { type: 'string', default: '256' } })
const terminal = new Terminal(args)
const text = (JSON.parse(readFileSync(join(DEMO_CHECKPOINT, 'reference.json'), 'utf8')) as { long: { ids: number[] } }).long.ids.slice(0, count('tokens', args.tokens))
const rows: string[][] = []
if (args.model !== undefined) await measure(await Bundle.open(args.model))
else for (const quant of WEIGHT_FORMATS) await measure(await Bundle.open(await demoBundle(quant)))
terminal.result(`${table(['weights', 'wire', 'comparisons', 'median', '99th percentile', 'largest', `x ${TOLERANCE_MARGIN}`, 'tolerance'], rows)}\n
Distance of two honest replies over the larger of their norms, row by row. "wire": the coarser form of the two. "tolerance": what node/tolerances.ts has.\n`)

async function measure (bundle: Bundle): Promise<void> {
  const { manifest: { quant }, config: { hiddenSize, vocabSize } } = bundle
  const host = await ExpertHost.load({ bundle, blocks: bundle.blocks, threads: 1 })
  const split = await ExpertHost.load({ bundle, blocks: bundle.blocks, threads: 2 })
  const plain = new PlainExperts(bundle)
  const found: Record<WireDtype, number[]> = { fp32: [], fp16: [], int8: [] }
  for (const batch of await batchesOf(bundle, host, text.map(id => id % vocabSize))) {
    const replies: Array<{ wire: WireDtype, sum: Float32Array }> = []
    for (const wire of WIRES) {
      const asked = { ...batch, hidden: rounded(batch.hidden, wire, hiddenSize) }
      const alone = new Float32Array(batch.hidden.length)
      for (let t = 0; t < batch.tokens; t++) alone.set((await host.compute(tokenOf(asked, t, hiddenSize))).sum, t * hiddenSize)
      for (const sum of [alone, (await split.compute(asked)).sum, plain.compute(asked)]) replies.push({ wire, sum: rounded(sum, wire, hiddenSize) })
    }
    for (const [i, a] of replies.entries()) {
      for (const b of replies.slice(0, i)) {
        const coarser = WIRES[Math.max(WIRES.indexOf(a.wire), WIRES.indexOf(b.wire))]
        for (let at = 0; at < a.sum.length; at += hiddenSize) found[coarser].push(deviation(a.sum.subarray(at, at + hiddenSize), b.sum.subarray(at, at + hiddenSize), hiddenSize))
      }
    }
  }
  await Promise.all([host.stop(), split.stop()])
  for (const wire of WIRES) {
    const sorted = Float64Array.from(found[wire]).sort()
    const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]
    const figures = { median: at(0.5), p99: at(0.99), largest: at(1) }
    const tolerance = tolerancesOf(quant)[wire]
    terminal.event('deviation', { quant, wire, comparisons: sorted.length, ...figures, tolerance })
    rows.push([quant, wire, String(sorted.length), ...Object.values(figures).map(figure => figure.toExponential(1)), (figures.largest * TOLERANCE_MARGIN).toExponential(1), tolerance.toExponential(0)])
  }
}

/** What a text asks of the experts of every layer. */
async function batchesOf (bundle: Bundle, host: ExpertHost, ids: number[]): Promise<ExpertBatch[]> {
  const batches: ExpertBatch[] = []
  const experts = new LocalExperts(host)
  const dispatcher: ExpertDispatcher = {
    dispatch: async batch => {
      batches.push(batch)
      return await experts.dispatch(batch)
    }
  }
  const client = await AttentionClient.load({ bundle, dispatcher, threads: 1 })
  const cache = client.newCache()
  for (let at = 0; at < ids.length; at += CHUNK) await client.lap(ids.slice(at, at + CHUNK), cache, { wanted: 'none', pass: 'prefill' })
  await client.close()
  return batches
}

function tokenOf ({ layer, hidden, counts, experts, weights }: ExpertBatch, token: number, H: number): ExpertBatch {
  const at = counts.subarray(0, token).reduce((a, b) => a + b, 0)
  const end = at + counts[token]
  return { layer, tokens: 1, hidden: hidden.slice(token * H, (token + 1) * H), counts: counts.slice(token, token + 1), experts: experts.slice(at, end), weights: weights.slice(at, end) }
}

/** As the other side of the network reads it. */
function rounded (values: Float32Array, wire: WireDtype, H: number): Float32Array {
  const tokens = values.length / H
  const bytes = new Uint8Array(rowBytes(wire, tokens, H))
  writeRows(wire, values, undefined, tokens, H, bytes, 0)
  return readRows(wire, bytes, 0, tokens, H)!
}
