import type { LapTimes } from '../../node/client/lap-profile.js'
import { formatBytes } from '../../model-tools/index.js'
import type { MeasuredProcess, Measurement } from './decode-measurement.js'
import type { Side } from './decode-sides.js'
import { shownSpread, type Spread, spread } from './figures.js'

/** Rounds of each side that was measured. */
export type Rounds = Partial<Record<Side, Measurement[]>>

export const SIDE_NAMES: Record<Side, string> = {
  llama: 'llama.cpp local', 'llama-rpc': 'llama.cpp, one rpc-server', local: 'ours, all local', swarm: 'ours, two peers'
}

/** What one side came to, over its rounds. */
export interface Summary {
  loadSeconds: Spread
  /** Tokens per second. */
  decode: Spread
  prefill: Record<string, Spread>
  /** Of the round in which they were largest. */
  processes: MeasuredProcess[]
  /** Milliseconds a lap by row of the profile: 'decode', and 'prefill N' for chunks of a prompt of N tokens. */
  laps: Record<string, Record<string, Spread>>
}

/** `rounds` must not be empty. */
export function summarise (rounds: Measurement[]): Summary {
  const lengths = Object.keys(rounds[0].prefill)
  const laps: Summary['laps'] = {}
  const ours = rounds.flatMap(({ laps }) => laps ?? [])
  if (ours.length > 0) {
    laps.decode = spreadRows(ours.flatMap(({ decode }) => decode))
    for (const length of lengths) laps[`prefill ${length}`] = spreadRows(ours.map(({ prefill }) => prefill[length]))
  }
  return {
    loadSeconds: spread(rounds.map(({ loadSeconds }) => loadSeconds)),
    decode: spread(rounds.flatMap(({ decode }) => decode)),
    prefill: Object.fromEntries(lengths.map(length => [length, spread(rounds.flatMap(({ prefill }) => prefill[length]))])),
    processes: rounds[0].processes.map(({ name }) => largest(rounds.flatMap(({ processes }) => processes.filter(process => process.name === name)))),
    laps
  }
}

function spreadRows (laps: LapTimes[]): Record<string, Spread> {
  const rows = Object.keys(laps[0]) as Array<keyof LapTimes>
  return Object.fromEntries(rows.map(row => [row, spread(laps.map(lap => lap[row]))]))
}

function largest (processes: MeasuredProcess[]): MeasuredProcess {
  return processes.reduce((a, b) => (b.memory?.residentBytes ?? 0) > (a.memory?.residentBytes ?? 0) ? b : a)
}

/** A figure that the project set itself, and what a run came to; undefined where it did not measure both sides. */
export interface Target {
  what: string
  bound: 'at least' | 'at most'
  wanted: number
  measured?: number
}

/** Ratios are of medians. */
export function targets (sides: Partial<Record<Side, Summary>>): Target[] {
  const { llama, local, swarm } = sides
  const rate = (of: Summary | undefined, length?: number): number | undefined => (length === undefined ? of?.decode : of?.prefill[length])?.median
  const ratio = (a?: number, b?: number): number | undefined => a === undefined || b === undefined ? undefined : a / b
  const hosts = swarm?.processes.flatMap(({ memory, hostedBytes }) => memory === undefined || hostedBytes === undefined ? [] : memory.residentBytes / hostedBytes) ?? []
  const unexplained = [local, swarm].flatMap(side => side?.laps.decode === undefined ? [] : side.laps.decode.other.median / side.laps.decode.total.median)
  return [
    { what: 'decode, two peers / llama.cpp local', bound: 'at least', wanted: 1, measured: ratio(rate(swarm), rate(llama)) },
    { what: 'decode, all local / llama.cpp local', bound: 'at least', wanted: 1, measured: ratio(rate(local), rate(llama)) },
    { what: 'decode, two peers / our all local', bound: 'at least', wanted: 0.95, measured: ratio(rate(swarm), rate(local)) },
    { what: 'prefill 512, all local / llama.cpp local', bound: 'at least', wanted: 0.7, measured: ratio(rate(local, 512), rate(llama, 512)) },
    { what: 'resident memory of a peer / bytes that it hosts', bound: 'at most', wanted: 1.1, measured: hosts.length === 0 ? undefined : Math.max(...hosts) },
    { what: 'share of a lap that its profile does not explain', bound: 'at most', wanted: 0.03, measured: unexplained.length === 0 ? undefined : Math.max(...unexplained) }
  ]
}

export function isMet ({ bound, wanted, measured }: Target): boolean | undefined {
  if (measured === undefined) return undefined
  return bound === 'at least' ? measured >= wanted : measured <= wanted
}

/** Rows of a table: a head of side names goes before them. */
export function sideRows (summaries: Summary[], layers: number): string[][] {
  const row = (label: string, of: (summary: Summary) => string): string[] => [label, ...summaries.map(of)]
  return [
    row('decode tok/s', ({ decode }) => shownSpread(decode, 2)),
    row('ms a token', ({ decode: { median, low, high } }) => shownSpread({ median: 1000 / median, low: 1000 / high, high: 1000 / low }, 1)),
    row('of that a layer', ({ laps: { decode } }) => decode === undefined ? '' : ((decode.total.median - decode.head.median - decode.embedding.median) / layers).toFixed(2)),
    ...Object.keys(summaries[0].prefill).map(length => row(`prefill ${length} tok/s`, ({ prefill }) => shownSpread(prefill[length], 1))),
    row('load s', ({ loadSeconds }) => shownSpread(loadSeconds, 1))
  ]
}

export const MEMORY_HEAD = ['', 'process', 'resident', 'of it anonymous', 'of files', 'peak', 'bytes hosted', 'resident / hosted']

export function memoryRows (name: string, { processes }: Summary): string[][] {
  return processes.map(({ name: process, memory, hostedBytes }) => {
    const bytes = (value?: number): string => value === undefined ? '' : formatBytes(value)
    return [
      name, process, bytes(memory?.residentBytes), bytes(memory?.anonymousBytes), bytes(memory?.fileBytes), bytes(memory?.peakBytes), bytes(hostedBytes),
      memory === undefined || hostedBytes === undefined ? '' : (memory.residentBytes / hostedBytes).toFixed(3)
    ]
  })
}

/** Rows of the profile of one kind of lap, of the sides that have one. */
export function lapRows (kind: string, summaries: Summary[]): string[][] {
  const rows = [...new Set(summaries.flatMap(({ laps }) => Object.keys(laps[kind] ?? {})))]
  return rows.map(row => [row, ...summaries.flatMap(({ laps }) => {
    const [figure, total] = [laps[kind]?.[row], laps[kind]?.total]
    return figure === undefined || total === undefined ? ['', ''] : [shownSpread(figure, 2), `${(100 * figure.median / total.median).toFixed(1)} %`]
  })])
}
