import { table } from '../../node/cli/terminal.js'
import type { Lever } from './wan-levers.js'

/** One row of the table; medians. */
export interface WanRow {
  name: string
  roundTripMs: number
  jitter: number
  disturbance?: 'slow' | 'dies'
  tokensPerSecond: Partial<Record<Lever, number>>
  tokensPerLap?: number
  lapMs?: number
  firstTokenMs?: number
  /** By number of sequences. */
  aggregate: Record<number, number>
  /** Of 16 sequences with levers. */
  crowd: Partial<Record<Lever, number>>
  /** Of 512 tokens, without levers and with half of the layers local. */
  prefill: Partial<Record<Lever, number>>
  p99LapMs?: number
  /** What ended the row early. */
  failure?: string
}

const USUAL_MS = 18
const CROWD = 16

export interface Target {
  what: string
  /** Undefined where a row for it is missing. */
  measured?: number
  bound: number
  most: boolean
  /** The best ratio that round trips allow where computing at RTT 0 takes as long as it was measured to. */
  possible?: number
}

export function wanTable (rows: WanRow[], layers: number): string {
  const figure = (value: number | undefined, digits = 1): string => value === undefined || !Number.isFinite(value) ? '-' : value.toFixed(digits)
  return table(
    ['RTT', 'no lever, 1 seq', 'speculation', 'half local', 'all', 'tok/lap', 'lap ms', 'lap/(layers x RTT)', '4 seq', '16 seq', '16 drafting', '16 all', 'prefill', 'prefill, half local', 'first token ms', 'p99 lap ms', ''],
    rows.map(row => [
      row.name, ...(['none', 'speculation', 'local', 'all'] as const).map(lever => figure(row.tokensPerSecond[lever])), figure(row.tokensPerLap, 2), figure(row.lapMs),
      figure(row.roundTripMs === 0 || row.lapMs === undefined ? undefined : row.lapMs / (layers * row.roundTripMs), 3),
      figure(row.aggregate[4]), figure(row.aggregate[16]), figure(row.crowd.speculation), figure(row.crowd.all), figure(row.prefill.none, 0), figure(row.prefill.local, 0), figure(row.firstTokenMs, 0), figure(row.p99LapMs),
      row.failure === undefined ? '' : `FAILED: ${row.failure}`
    ]))
}

/** The targets as far as the rows tell; `local` is the bound with half of the layers local. */
export function wanTargets (rows: WanRow[], layers: number, local: number): Target[] {
  const find = (roundTripMs: number, disturbance?: WanRow['disturbance']): WanRow | undefined => rows.find(row => row.roundTripMs === roundTripMs && row.jitter === 0 && row.disturbance === disturbance)
  const [near, far, slow] = [find(0), find(18), find(18, 'slow')]
  // A prompt of any number of chunks passes every layer after the one before, and of 16 sequences each waits for a round trip a layer and token.
  const tripsMs = layers * USUAL_MS
  const prefillMs = near?.prefill.none === undefined ? undefined : 512_000 / near.prefill.none
  const possible = {
    prefill: prefillMs === undefined ? undefined : Math.min(1, prefillMs / tripsMs),
    crowd: near?.aggregate[CROWD] === undefined ? undefined : Math.min(1, CROWD * 1_000 / tripsMs / near.aggregate[CROWD])
  }
  return [
    { what: 'lap / (remote layers x RTT + lap at RTT 0), RTT 18 ms', measured: over(far?.lapMs, near?.lapMs === undefined ? undefined : layers * 18 + near.lapMs), bound: 1.1, most: true },
    { what: 'all levers without local layers / none, RTT 18 ms', measured: over(far?.tokensPerSecond.speculation, far?.tokensPerSecond.none), bound: 2.5, most: false },
    { what: 'the same with half of the layers local', measured: over(far?.tokensPerSecond.all, far?.tokensPerSecond.none), bound: local, most: false },
    { what: '16 sequences without levers, 18 ms / 0 ms', measured: over(far?.aggregate[16], near?.aggregate[16]), bound: 0.8, most: false, possible: possible.crowd },
    { what: '16 sequences that draft, 18 ms / 0 ms', measured: over(far?.crowd.speculation, near?.crowd.speculation), bound: 0.8, most: false },
    { what: '16 sequences with all levers, 18 ms / 0 ms', measured: over(far?.crowd.all, near?.crowd.all), bound: 0.8, most: false },
    { what: '16 sequences with all levers, 18 ms / 16 without any, 0 ms', measured: over(far?.crowd.all, near?.aggregate[16]), bound: 0.8, most: false },
    { what: 'prefill of 512 tokens, 18 ms / 0 ms', measured: over(far?.prefill.none, near?.prefill.none), bound: 0.8, most: false, possible: possible.prefill },
    { what: 'prefill of 512 tokens with half of the layers local, 18 ms / without, 0 ms', measured: over(far?.prefill.local, near?.prefill.none), bound: 0.8, most: false },
    { what: 'p99 lap with one slow replica of two / without it', measured: over(slow?.p99LapMs, far?.p99LapMs), bound: 1.3, most: true }
  ]
}

export function targetTable (targets: Target[]): string {
  return table(['target', 'bound', 'measured', 'round trips allow', ''], targets.map(({ what, measured, bound, most, possible }) =>
    [what, `${most ? 'at most' : 'at least'} ${bound.toFixed(2)}`, measured?.toFixed(2) ?? '-', possible?.toFixed(2) ?? '', verdict(measured, bound, most)]))
}

function verdict (measured: number | undefined, bound: number, most: boolean): string {
  if (measured === undefined) return 'not measured'
  return (most ? measured <= bound : measured >= bound) ? 'met' : 'MISSED'
}

function over (a: number | undefined, b: number | undefined): number | undefined {
  const ratio = a === undefined || b === undefined ? NaN : a / b
  return Number.isFinite(ratio) ? ratio : undefined
}

const LINES: Array<{ of: (row: WanRow) => number | undefined, name: string, color: string }> = [
  { of: row => row.tokensPerSecond.none, name: 'no lever', color: '#888888' },
  { of: row => row.tokensPerSecond.speculation, name: 'speculation', color: '#1f77b4' },
  { of: row => row.tokensPerSecond.local, name: 'half of the layers local', color: '#2ca02c' },
  { of: row => row.tokensPerSecond.all, name: 'both', color: '#d62728' },
  { of: row => row.aggregate[16], name: '16 sequences, no lever', color: '#9467bd' },
  { of: row => row.crowd.all, name: '16 sequences, both', color: '#e377c2' }
]
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [760, 420, 60, 50, 40, 190]
const LABEL_HEIGHT = 15

/** Tokens a second over the round trip, one line a lever, both axes linear and logarithmic. */
export function wanSvg (rows: WanRow[], title: string): string {
  const steady = rows.filter(row => row.jitter === 0 && row.disturbance === undefined).sort((a, b) => a.roundTripMs - b.roundTripMs)
  const values = steady.flatMap(row => LINES.flatMap(({ of }) => of(row) ?? [])).filter(value => value > 0)
  const [low, high] = [Math.log10(Math.min(...values)) - 0.05, Math.log10(Math.max(...values)) + 0.05]
  const last = Math.max(1, ...steady.map(row => row.roundTripMs))
  const x = (roundTripMs: number): number => LEFT + (WIDTH - LEFT - RIGHT) * roundTripMs / last
  const y = (value: number): number => HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (Math.log10(value) - low) / (high - low)
  const text = (at: [number, number], words: string, rest = ''): string => `<text x="${at[0].toFixed(1)}" y="${at[1].toFixed(1)}" ${rest}>${words}</text>`
  const parts = [text([LEFT, 22], title, 'font-weight="bold"'), text([(LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10], 'round trip, ms', 'text-anchor="middle"'), text([8, TOP - 6], 'tok/s')]
  for (const { roundTripMs } of steady) {
    parts.push(`<line x1="${x(roundTripMs)}" x2="${x(roundTripMs)}" y1="${TOP}" y2="${HEIGHT - BOTTOM}" stroke="#eeeeee"/>`, text([x(roundTripMs), HEIGHT - BOTTOM + 16], String(roundTripMs), 'text-anchor="middle"'))
  }
  for (const tick of [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].filter(value => Math.log10(value) >= low && Math.log10(value) <= high)) {
    parts.push(`<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(tick)}" y2="${y(tick)}" stroke="#eeeeee"/>`, text([LEFT - 6, y(tick) + 4], String(tick), 'text-anchor="end"'))
  }
  const labels: Array<{ at: number, name: string, color: string }> = []
  for (const { of, name, color } of LINES) {
    const points = steady.flatMap(row => (of(row) ?? 0) > 0 ? [[x(row.roundTripMs), y(of(row)!)]] : [])
    if (points.length === 0) continue
    parts.push(`<polyline fill="none" stroke="${color}" stroke-width="2" points="${points.map(point => point.map(value => value.toFixed(1)).join(',')).join(' ')}"/>`)
    const end = points[points.length - 1]
    parts.push(...points.map(([cx, cy]) => `<circle cx="${cx.toFixed(1)}" cy="${cy.toFixed(1)}" r="3" fill="${color}"/>`))
    labels.push({ at: end[1] + 4, name, color })
  }
  // Lines that end close together must not write over each other.
  let free = TOP
  for (const { at, name, color } of labels.sort((a, b) => a.at - b.at)) {
    const y = Math.max(at, free)
    parts.push(text([WIDTH - RIGHT + 10, y], name, `fill="${color}"`))
    free = y + LABEL_HEIGHT
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
${parts.join('\n')}
</svg>
`
}
