import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { Terminal } from '../../node/cli/terminal.js'
import { demoBundle } from '../demo-bundle.js'
import { spread } from './figures.js'
import { aggregate, decode, type Decoded, disturbed, type Lever, openClients, prefill, TAIL_TOKENS, tailLapMs, tokensFor, type WanClients } from './wan-levers.js'
import { SHAPE, syntheticBundle } from './synthetic-models.js'
import { targetTable, type WanRow, wanSvg, wanTable, wanTargets } from './wan-report.js'
import { WanSwarm } from './wan-swarm.js'

const HELP = `npm run bench:wan -- [--quick] [--rows 0,18,18j,slow,dies] [--rounds 3] [--ms 3500] [--budget SECONDS] [--layers 3 | --bundle DIR] [--svg docs/wan.svg] [--json]

Three peer processes behind links of a wan-proxy process, every layer with two of them, and clients without and with half of the layers local.
--rows takes round trips in ms, with a j for 10 % jitter; 'slow' is 18 ms with one peer that becomes ten times as far, 'dies' one that is killed.
--ms is what one measurement of decoding may take. No row begins after --budget seconds; those that did not are named.
--layers measures the 26B shape with so many layers, made on first use, --bundle any other model, instead of the demo model.
`
const ROWS = '0,18,slow,0j,5,5j,18j,50,50j,100,100j,dies'
const QUICK_ROWS = '0,18,slow'
const JITTER = 0.1
const USUAL_MS = 18
const SLOWER = 10
const LEVERS: Lever[] = ['none', 'speculation', 'local', 'all']
const SEQUENCES = [4, 16]
/** Sequences with the levers that give more tokens a lap. */
const CROWD = 16
const CROWD_LEVERS = ['speculation', 'all'] as const

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false }, rows: { type: 'string' }, rounds: { type: 'string' }, ms: { type: 'string', default: '3500' }, budget: { type: 'string', default: 'Infinity' }, bundle: { type: 'string' }, layers: { type: 'string' }, svg: { type: 'string' },
    json: { type: 'boolean', default: false }, help: { type: 'boolean', default: false }
  }
})
const DECODE_MS = Number(options.ms)
if (options.help) process.stdout.write(HELP)
else await measure()

async function measure (): Promise<void> {
  const terminal = new Terminal({ json: options.json })
  const rounds = Number(options.rounds ?? (options.quick ? 1 : 3))
  const names = (options.rows ?? (options.quick ? QUICK_ROWS : ROWS)).split(',')
  const model = options.layers === undefined
    ? options.bundle ?? await demoBundle('q8')
    : (await syntheticBundle(Number(options.layers), { onNote: text => { terminal.note(text) }, onProgress: () => {} })).dir
  const isDemo = options.layers === undefined && options.bundle === undefined
  const swarm = await WanSwarm.start(model)
  const rows: WanRow[] = []
  const skipped: string[] = []
  let clients: WanClients | undefined
  try {
    clients = await openClients(model, swarm.bootstrap, swarm.layers)
    await prefill(clients) // the first one pays for memory and compilers
    const progress = terminal.progress('Rows')
    for (const [at, name] of names.entries()) {
      if (performance.now() > Number(options.budget) * 1_000) {
        skipped.push(name)
        continue
      }
      terminal.note(`${name} ...`)
      const row = await measureRow(name, swarm, clients, rounds)
      rows.push(row)
      terminal.event('row', row)
      progress(at + 1, names.length)
    }
  } finally {
    terminal.endProgress()
    await clients?.remote.close()
    await clients?.half.close()
    await swarm.stop()
  }
  const targets = wanTargets(rows, swarm.layers, isDemo ? 5 : 3.5)
  for (const target of targets) terminal.event('target', target)
  if (skipped.length > 0) terminal.note(`No time was left for the rows ${skipped.join(', ')}.`)
  const title = `${isDemo ? 'Demo model' : options.bundle ?? SHAPE}, ${swarm.layers} layers, three peers`
  if (options.svg !== undefined) await writeFile(options.svg, wanSvg(rows, title))
  terminal.result(`${wanTable(rows, swarm.layers)}\n\n${targetTable(targets)}\n
tok/s but where said otherwise; medians of ${rounds} rounds, the levers of a row in turn; ${title}, fp16 rows, greedy, openings that neither model nor drafter was trained on.
All processes share this machine. 'all': drafts and every second layer local. Sequences: together, while all of them decode, without drafts unless the column says so. p99 of ${TAIL_TOKENS} laps.\n`)
}

async function measureRow (name: string, swarm: WanSwarm, clients: WanClients, rounds: number): Promise<WanRow> {
  const disturbance = name === 'slow' || name === 'dies' ? name : undefined
  const roundTripMs = disturbance === undefined ? Number.parseFloat(name) : USUAL_MS
  const jitter = name.endsWith('j') ? JITTER : 0
  const row: WanRow = { name: describe(roundTripMs, jitter, disturbance), roundTripMs, jitter, disturbance, tokensPerSecond: {}, aggregate: {}, crowd: {} }
  await swarm.distance(roundTripMs, jitter)
  // The estimates get used to the distance, and both clients' code gets warm.
  for (const lever of LEVERS) await decode(clients, lever, 0, Math.round(tokensFor(Math.max(20, swarm.layers * roundTripMs), DECODE_MS) / 2))

  if (disturbance === 'dies') {
    row.tokensPerSecond.none = await disturbed(clients, 40, async () => { await swarm.peers[busiest(swarm, clients)].stop('SIGKILL') })
    return row
  }
  if (roundTripMs === USUAL_MS && jitter === 0) {
    row.p99LapMs = (await tailLapMs(clients, disturbance === 'slow' ? async () => { await swarm.slow(busiest(swarm, clients), roundTripMs, SLOWER) } : undefined)).p99Ms
  }
  const decoded: Record<Lever, Decoded[]> = { none: [], speculation: [], local: [], all: [] }
  const sequences: Record<number, number[]> = Object.fromEntries(SEQUENCES.map(count => [count, []]))
  const crowd: Record<typeof CROWD_LEVERS[number], number[]> = { speculation: [], all: [] }
  const prefilled: number[] = []
  for (let round = 0; round < rounds; round++) {
    for (const lever of LEVERS) {
      const usual = decoded[lever].at(-1)?.lapMs ?? Math.max(5, (lever === 'local' || lever === 'all' ? 0.5 : 1) * swarm.layers * roundTripMs + 10)
      decoded[lever].push(await decode(clients, lever, round + 1, tokensFor(usual, DECODE_MS)))
    }
    const tokens = Math.max(8, Math.round(tokensFor(decoded.none[0].lapMs, DECODE_MS) / 2))
    for (const count of SEQUENCES) sequences[count].push(await aggregate(clients, 'none', count, tokens))
    for (const lever of CROWD_LEVERS) crowd[lever].push(await aggregate(clients, lever, CROWD, 2 * tokens))
    prefilled.push(await prefill(clients))
  }
  const median = (values: number[]): number => spread(values).median
  for (const lever of LEVERS) row.tokensPerSecond[lever] = median(decoded[lever].map(({ tokensPerSecond }) => tokensPerSecond))
  for (const count of SEQUENCES) row.aggregate[count] = median(sequences[count])
  for (const lever of CROWD_LEVERS) row.crowd[lever] = median(crowd[lever])
  row.tokensPerLap = median(decoded.speculation.map(({ tokensPerLap }) => tokensPerLap))
  row.lapMs = median(decoded.none.map(({ lapMs }) => lapMs))
  row.firstTokenMs = median(decoded.none.map(({ firstTokenMs }) => firstTokenMs))
  row.prefill = median(prefilled)
  return row
}

/** The peer that has served most: what becomes slow or dies must be in use. */
function busiest ({ peers }: WanSwarm, { remote }: WanClients): number {
  const requests = peers.map(({ peerId }) => remote.peers().find(peer => peer.peerId === peerId)?.requests ?? 0)
  return requests.indexOf(Math.max(...requests))
}

function describe (roundTripMs: number, jitter: number, disturbance: WanRow['disturbance']): string {
  if (disturbance === 'slow') return `${roundTripMs} ms, one of three ${SLOWER} x slower`
  if (disturbance === 'dies') return `${roundTripMs} ms, one of three dies`
  return `${roundTripMs} ms${jitter > 0 ? ` ± ${100 * jitter} %` : ''}`
}
