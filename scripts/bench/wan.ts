import { writeFile } from 'node:fs/promises'
import { Terminal } from '../../node/cli/terminal.js'
import { demoBundle } from '../demo-bundle.js'
import { count, scriptOptions, wrongUse } from '../script-options.js'
import { spread } from './figures.js'
import { aggregate, decode, disturbed, learnTexts, type Lever, openClients, prefill, TAIL_TOKENS, tailLapMs, tokensFor, warmUp, type WanClients } from './wan-levers.js'
import { SHAPE, syntheticBundle } from './synthetic-models.js'
import { targetTable, type WanRow, wanSvg, wanTable, wanTargets } from './wan-report.js'
import { PEERS, WanSwarm } from './wan-swarm.js'

const HELP = `npm run bench:wan -- [--quick] [--rows 0,18,18j,slow,dies] [--rounds 1] [--ms 9000] [--budget SECONDS] [--layers 3 | --bundle DIR] [--svg docs/wan.svg] [--json]

Three peer processes behind links of a wan-proxy process, every layer with two of them, and clients without and with half of the layers local.
--rows takes round trips in ms, with a j for 10 % jitter; 'slow' is 18 ms with one peer that becomes ten times as far, 'dies' one that is killed.
--ms is about what one measurement of decoding takes, but texts with drafts have 96 tokens at least: all rows take a quarter of an hour on two cores, more rounds so many times that. No row begins after --budget seconds; those that did not are named. A row that fails says why, and the others go on.
--layers measures the 26B shape with so many layers, made on first use, --bundle any other model, instead of the demo model.
`
const ROWS = '0,18,slow,dies,0j,5,5j,18j,50,50j,100,100j'
const QUICK_ROWS = '0,18,slow'
const JITTER = 0.1
const USUAL_MS = 18
/** What a row takes, in seconds, for the time that is left: about so much, and more by so much a millisecond of round trip, and where a 99th percentile is read. */
const ROW_S = { any: 40, roundTrip: 0.65, tail: 25 }
const SLOWER = 10
const LEVERS: Lever[] = ['none', 'speculation', 'local', 'all']
const SEQUENCES = [4, 16]
/** Sequences with the levers that give more tokens a lap. */
const CROWD = 16
/** How long a peer that was put back may take until the clients know it, in milliseconds. */
const SEEN_MS = 60_000
/** Tokens of each of their texts at least: there must be room for drafts. */
const CROWD_TOKENS = 48
const CROWD_LEVERS = ['speculation', 'all'] as const
const PREFILL_LEVERS = ['none', 'local'] as const

const options = scriptOptions(HELP, {
  quick: { type: 'boolean', default: false }, rows: { type: 'string' }, rounds: { type: 'string', default: '1' }, ms: { type: 'string', default: '9000' }, budget: { type: 'string', default: 'Infinity' }, bundle: { type: 'string' }, layers: { type: 'string' }, svg: { type: 'string' }
})
const DECODE_MS = count('ms', options.ms)
await measure()

async function measure (): Promise<void> {
  const terminal = new Terminal(options)
  const rounds = count('rounds', options.rounds)
  const names = (options.rows ?? (options.quick ? QUICK_ROWS : ROWS)).split(',')
  const unknown = names.find(name => !/^(\d+j?|slow|dies)$/.test(name))
  if (unknown !== undefined) wrongUse(`--rows takes ${ROWS} and the like, not "${unknown}".`)
  const model = options.layers === undefined
    ? options.bundle ?? await demoBundle('q8')
    : (await syntheticBundle(count('layers', options.layers), { onNote: text => { terminal.note(text) }, onProgress: () => {} })).dir
  const isDemo = options.layers === undefined && options.bundle === undefined
  const swarm = await WanSwarm.start(model)
  const rows: WanRow[] = []
  const skipped: string[] = []
  let clients: WanClients | undefined
  try {
    clients = await openClients(model, swarm.bootstrap, swarm.layers, options.layers !== undefined)
    // The first one pays for memory and compilers.
    for (const lever of PREFILL_LEVERS) await prefill(clients, lever)
    await learnTexts(clients)
    const progress = terminal.progress('Rows')
    const begun = performance.now()
    for (const [at, name] of names.entries()) {
      if (performance.now() > Number(options.budget) * 1_000) {
        skipped.push(name)
        continue
      }
      const row = emptyRow(name)
      terminal.note(`${row.name} ... (row ${at + 1} of ${names.length}${timeLeft(names, at, performance.now() - begun)})`)
      rows.push(row)
      await measureRow(row, swarm, clients, rounds).catch((error: unknown) => {
        row.failure = error instanceof Error ? error.message : String(error)
        terminal.note(`${row.name}: ${row.failure}`)
      })
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
  const assumed = clients?.replay === undefined ? '' : `ASSUMED, not measured: how often drafts are right. Weights are random, so what the model wrote before is proposed, right as often as the demo's assistant is (0.72 of first tokens,
0.76 of second ones where the first is right, ...), by a drafter that costs nothing. What laps cost is measured.\n`
  terminal.result(`${wanTable(rows, swarm.layers)}\n\n${targetTable(targets)}\n
tok/s but where said otherwise; medians of ${rounds} rounds, the levers of a row in turn; ${title}, fp16 rows, greedy, openings that neither model nor drafter was trained on.
All processes share this machine. 'all': drafts and every second layer local. Sequences: together, while all of them decode, without drafts unless the column says so. p99 of ${TAIL_TOKENS} laps.
Of a peer that dies: no lever: killed after a quarter of the text; all else with the two peers that are left.\n${assumed}`)
}

function emptyRow (name: string): WanRow {
  const disturbance = name === 'slow' || name === 'dies' ? name : undefined
  const roundTripMs = disturbance === undefined ? Number.parseFloat(name) : USUAL_MS
  const jitter = name.endsWith('j') ? JITTER : 0
  return { name: describe(roundTripMs, jitter, disturbance), roundTripMs, jitter, disturbance, tokensPerSecond: {}, aggregate: {}, crowd: {}, prefill: {} }
}

/** By what the rows before `at` took against what they were expected to take. */
function timeLeft (names: string[], at: number, elapsedMs: number): string {
  const seconds = (of: string[]): number => of.map(emptyRow).reduce((sum, row) => sum + ROW_S.any + ROW_S.roundTrip * row.roundTripMs + (readsTail(row) ? ROW_S.tail : 0), 0)
  const pace = at === 0 ? 1 : elapsedMs / 1_000 / seconds(names.slice(0, at))
  return `, about ${Math.ceil(pace * seconds(names.slice(at)) / 60)} min left`
}

function readsTail ({ roundTripMs, jitter, disturbance }: WanRow): boolean {
  return roundTripMs === USUAL_MS && jitter === 0 && disturbance !== 'dies'
}

/** Fills the row with medians of what was measured so far, whatever happens then. */
async function measureRow (row: WanRow, swarm: WanSwarm, clients: WanClients, rounds: number): Promise<void> {
  const { roundTripMs, jitter, disturbance } = row
  await swarm.distance(roundTripMs, jitter)
  await warmUp(clients)
  if (disturbance !== 'dies') return await measureFigures(row, swarm, clients, rounds)
  const dying = busiest(swarm, clients)
  const survived = await disturbed(clients, 40, async () => { await swarm.peers[dying].stop('SIGKILL') })
  try {
    await measureFigures(row, swarm, clients, rounds)
  } finally {
    row.tokensPerSecond.none = survived
    await swarm.startPeer(dying)
    await seeAll(clients)
  }
}

async function measureFigures (row: WanRow, swarm: WanSwarm, clients: WanClients, rounds: number): Promise<void> {
  const { roundTripMs, disturbance } = row
  if (readsTail(row)) {
    row.p99LapMs = (await tailLapMs(clients, disturbance === 'slow' ? async () => { await swarm.slow(busiest(swarm, clients), roundTripMs, SLOWER) } : undefined)).p99Ms
  }
  const usualMs: Partial<Record<Lever, number>> = {}
  const keepIn = <K extends string | number>(figures: Partial<Record<K, number>>, key: K): (value: number) => void => keepMedian(median => { figures[key] = median })
  const decoded = LEVERS.map(lever => ({ lever, speed: keepIn(row.tokensPerSecond, lever), lap: keepIn(usualMs, lever) }))
  const tokensPerLap = keepMedian(median => { row.tokensPerLap = median })
  const lapMs = keepMedian(median => { row.lapMs = median })
  const firstTokenMs = keepMedian(median => { row.firstTokenMs = median })
  const sequences = SEQUENCES.map(count => ({ count, speed: keepIn(row.aggregate, count) }))
  const crowd = CROWD_LEVERS.map(lever => ({ lever, speed: keepIn(row.crowd, lever) }))
  const prefilled = PREFILL_LEVERS.map(lever => ({ lever, speed: keepIn(row.prefill, lever) }))
  for (let round = 0; round < rounds; round++) {
    for (const { lever, speed, lap } of decoded) {
      const expectedMs = usualMs[lever] ?? Math.max(5, (lever === 'local' || lever === 'all' ? 0.5 : 1) * swarm.layers * roundTripMs + 10)
      const one = await decode(clients, lever, round + 1, expectedMs, DECODE_MS)
      speed(one.tokensPerSecond)
      lap(one.lapMs)
      if (lever === 'speculation') tokensPerLap(one.tokensPerLap)
      if (lever !== 'none') continue
      lapMs(one.lapMs)
      firstTokenMs(one.firstTokenMs)
    }
    for (const { lever, speed } of prefilled) speed(await prefill(clients, lever))
    const tokens = Math.max(8, Math.round(tokensFor(usualMs.none!, DECODE_MS) / 2))
    for (const { count, speed } of sequences) speed(await aggregate(clients, 'none', count, tokens))
    for (const { lever, speed } of crowd) speed(await aggregate(clients, lever, CROWD, Math.max(CROWD_TOKENS, 2 * tokens)))
  }
}

/** Sets the median of what it is called with. */
function keepMedian (set: (median: number) => void): (value: number) => void {
  const values: number[] = []
  return value => {
    if (Number.isFinite(value)) values.push(value)
    if (values.length > 0) set(spread(values).median)
  }
}

/** Waits until both clients know all peers again. */
async function seeAll ({ remote, half }: WanClients): Promise<void> {
  const end = performance.now() + SEEN_MS
  while ([remote, half].some(client => client.livePeers().length < PEERS) && performance.now() < end) await new Promise(resolve => setTimeout(resolve, 100))
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
