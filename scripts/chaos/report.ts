import { table } from '../../node/cli/terminal.js'
import { formatBytes } from '../../node/index.js'
import type { Injected } from './faults.js'
import type { Failure } from './generating-client.js'
import type { Growth } from './memory.js'
import { FAULT_KINDS, type FaultKind } from './schedule.js'

/** A pause that is this many times the usual one is a fault's doing. */
const UNUSUAL = 3

export interface AddedTime {
  kind: FaultKind
  faults: number
  medianMs: number
  p99Ms: number
  mostMs: number
}

export interface ChaosReport {
  seed: number
  seconds: number
  tokens: number
  generations: number
  /** Median milliseconds of a token. */
  usualMs: number
  faults: Record<FaultKind, number>
  skipped: number
  /** Tokens that differ from the all-local run. */
  differing: number
  /** Generations that failed; there was a living replica of every block all the time. */
  failures: Failure[]
  added: AddedTime[]
  memory: Growth[]
  /** Failed requests of the client by code: what nobody noticed. */
  failedRequests: Record<string, number>
  hedged: number
  /** Share of the replies that were compared. */
  audit: number
  /** Peers that lied in every reply, and how many replies of those that were caught had been used by then. */
  liars: number
  caughtAfter: number[]
}

/**
 * What faults cost, by kind: to each fault goes the time beyond the usual one of the tokens that came unusually late from its beginning until the next one's.
 *
 * @param tokenMs - when each token came
 * @param gapMs - how long each took
 */
export function addedTimes (injected: readonly Injected[], tokenMs: readonly number[], gapMs: readonly number[]): { usualMs: number, added: AddedTime[] } {
  const usualMs = quantile(gapMs, 0.5)
  const lost = injected.map(() => 0)
  let fault = -1
  for (const [at, ms] of tokenMs.entries()) {
    while (fault + 1 < injected.length && injected[fault + 1].beganMs <= ms) fault++
    if (fault >= 0 && gapMs[at] > UNUSUAL * usualMs) lost[fault] += gapMs[at] - usualMs
  }
  const added = FAULT_KINDS.flatMap(kind => {
    const times = lost.filter((_, at) => injected[at].kind === kind)
    return times.length === 0 ? [] : [{ kind, faults: times.length, medianMs: quantile(times, 0.5), p99Ms: quantile(times, 0.99), mostMs: Math.max(...times) }]
  })
  return { usualMs, added }
}

/** The nearest-rank quantile; NaN of nothing. */
export function quantile (values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted.length === 0 ? NaN : sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]
}

/** What must hold and does not, a sentence each; empty when all is well. Lies may be believed for a while where not every reply is compared. */
export function broken ({ tokens, differing, failures, liars, audit }: Pick<ChaosReport, 'tokens' | 'differing' | 'failures' | 'liars' | 'audit'>): string[] {
  return [
    ...tokens === 0 ? ['no token was generated'] : [],
    ...differing > 0 && (liars === 0 || audit >= 1) ? [`${differing} tokens differ from the all-local run`] : [],
    ...failures.length > 0 ? [`${failures.length} generations failed while a replica of every block lived, the first with: ${failures[0].message}`] : []
  ]
}

function shownLiars ({ liars, caughtAfter, audit }: ChaosReport): string {
  if (liars === 0) return ''
  const predicted = audit >= 1 ? 'none are used' : `predicted: ${(1 / audit).toFixed(0)} on average`
  return `\n${liars} peers lied in every reply, ${caughtAfter.length} were caught, after ${caughtAfter.join(', ')} replies that were used (${(100 * audit).toFixed(0)} % are compared; ${predicted}).\n`
}

export function shownReport (report: ChaosReport): string {
  const { seed, seconds, tokens, generations, usualMs, skipped, differing, failures, added, memory, failedRequests, hedged, liars, audit } = report
  const mustNotDiffer = liars === 0 || audit >= 1
  const ms = (value: number): string => value.toFixed(0)
  const requests = Object.entries(failedRequests).map(([code, count]) => `${code} ${count}`).join(', ')
  return `Seed ${seed}: ${tokens} tokens in ${generations} generations and ${seconds.toFixed(0)} s, median ${usualMs.toFixed(1)} ms a token.

${table(['fault', 'injected', 'added ms: median', 'p99', 'most'], added.map(row => [row.kind, String(row.faults), ms(row.medianMs), ms(row.p99Ms), ms(row.mostMs)]))}
${skipped} faults left out, since they would have taken the last replica.

${table(['must be 0', ''], [[`tokens that differ from the all-local run${mustNotDiffer ? '' : ' (may be above 0)'}`, String(differing)], ['generations that failed while a replica lived', String(failures.length)]])}

Requests that failed and were given to replicas: ${requests === '' ? 'none' : requests}; hedged: ${hedged}.
${shownLiars(report)}
${table(['memory', 'at first', 'at last', 'growth'], memory.map(({ who, beforeBytes, afterBytes }) => [who, formatBytes(beforeBytes), formatBytes(afterBytes), `${((afterBytes - beforeBytes) / 2 ** 20).toFixed(1)} MiB`]))}
`
}
