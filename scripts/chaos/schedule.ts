import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import { type Holding, lacking } from './layout.js'

/** What is done to a peer; see faults.ts. */
export const FAULT_KINDS = ['kill', 'stop', 'restart', 'slow', 'cut', 'stall', 'lie'] as const
export type FaultKind = typeof FAULT_KINDS[number]

export interface Fault {
  /** From the start of the schedule. */
  atMs: number
  peer: number
  kind: FaultKind
  /** Until it is undone; a killed peer is started then, and one that lied is replaced by an honest one. */
  lastsMs: number
  /** Of 'slow', added each way. */
  delayMs?: number
}

export interface ScheduleInit {
  seed: number
  durationMs: number
  layout: readonly Holding[]
  /** Whether peers are made to lie. @default false */
  lies?: boolean
  /** Mean time between two faults. @default 4000 */
  meanPauseMs?: number
}

/** Before the first fault the client generates undisturbed, to know what is usual. */
const FIRST_MS = 6_000
const MEAN_PAUSE_MS = 4_000
const LEAST_PAUSE_MS = 500
/** How long each lasts, from and to. */
const LASTS_MS: Record<FaultKind, [number, number]> = { kill: [1_000, 6_000], stop: [2_000, 8_000], restart: [0, 0], slow: [4_000, 15_000], cut: [500, 6_000], stall: [2_000, 8_000], lie: [10_000, 20_000] }
const DELAY_MS: [number, number] = [20, 120]
/** After a fault a peer counts as away for this long: it starts, is announced, and is found by the client again. */
const RECOVERY_MS: Record<FaultKind, number> = { kill: 15_000, stop: 8_000, restart: 15_000, slow: 0, cut: 8_000, stall: 8_000, lie: 20_000 }

/**
 * When what happens to whom: a pure function of its arguments. Whatever it takes away, every block stays with a peer to which nothing happens until what was
 * taken before has recovered. Kinds come in shuffled rounds, so a short schedule has them all.
 */
export function faultSchedule ({ seed, durationMs, layout, lies = false, meanPauseMs = MEAN_PAUSE_MS }: ScheduleInit): Fault[] {
  const generator = xoroshiro128plus(seed)
  const random = (): number => uniformFloat64(generator)
  const between = ([from, to]: [number, number]): number => Math.round(from + random() * (to - from))
  const awayUntil = layout.map(() => 0)
  const busyUntil = layout.map(() => 0)
  const faults: Fault[] = []
  let kinds: FaultKind[] = []
  for (let atMs = FIRST_MS; atMs < durationMs; atMs += Math.max(LEAST_PAUSE_MS, Math.round(-meanPauseMs * Math.log(1 - random())))) {
    if (kinds.length === 0) kinds = shuffled(FAULT_KINDS.filter(kind => lies || kind !== 'lie'), random)
    const here = layout.flatMap((_, peer) => awayUntil[peer] <= atMs ? [peer] : [])
    const freeFor = (kind: FaultKind): number[] => here.filter(peer => busyUntil[peer] <= atMs && (kind === 'slow' || lacking(layout, peer, here).length === 0))
    const kind = kinds.find(one => freeFor(one).length > 0)
    if (kind === undefined) continue
    kinds = kinds.filter(other => other !== kind)
    const free = freeFor(kind)
    const peer = free[Math.floor(random() * free.length)]
    const lastsMs = between(LASTS_MS[kind])
    faults.push({ atMs, peer, kind, lastsMs, ...kind === 'slow' && { delayMs: between(DELAY_MS) } })
    busyUntil[peer] = atMs + lastsMs + RECOVERY_MS[kind]
    if (kind !== 'slow') awayUntil[peer] = busyUntil[peer]
  }
  return faults
}

function shuffled<T> (items: readonly T[], random: () => number): T[] {
  const left = [...items]
  return items.map(() => left.splice(Math.floor(random() * left.length), 1)[0])
}
