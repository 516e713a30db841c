import { table, Terminal } from '../../node/cli/terminal.js'
import { AUDIT_SHARE } from '../../node/client-audit.js'
import { scriptOptions, wrongUse } from '../script-options.js'
import { LAYOUT } from './layout.js'
import { broken, shownReport } from './report.js'
import { runChaos } from './run.js'
import { type Fault, faultSchedule } from './schedule.js'

const HELP = `npm run chaos -- [--seed 1] [--minutes 2] [--lies] [--audit 0.02] [--schedule] [--json]

A swarm of ${LAYOUT.length} peer processes of the demo model, every block with two or three of them, and a client that generates without pause, while peers are killed, stopped,
restarted, slowed and cut off by a schedule that follows from the seed and never takes the last replica of a block. Exit code 1 when a token differs
from the all-local run or a generation fails.

  --seed <n>       which schedule (default: 1)
  --minutes <m>    how long (default: 2)
  --lies           peers are made to lie too
  --audit <share>  of the replies that are compared, 0 to 1 (default: ${AUDIT_SHARE}); with 1 no token may differ, also with lies
  --schedule       print the schedule and end
  --json           one JSON object a line: fault, client (what it told), progress, report
`

const options = scriptOptions(HELP, {
  seed: { type: 'string', default: '1' }, minutes: { type: 'string', default: '2' }, audit: { type: 'string', default: String(AUDIT_SHARE) },
  lies: { type: 'boolean', default: false }, schedule: { type: 'boolean', default: false }
})
const [seed, minutes, audit] = [Number(options.seed), Number(options.minutes), Number(options.audit)]
const { lies } = options
const terminal = new Terminal(options)
if (!Number.isSafeInteger(seed) || !(minutes > 0) || !(audit >= 0 && audit <= 1)) wrongUse('--seed is a whole number and --minutes one above 0, --audit is from 0 to 1.')
if (options.schedule) printSchedule()
else await run()

function printSchedule (): void {
  const schedule = faultSchedule({ seed, durationMs: minutes * 60_000, layout: LAYOUT, lies })
  for (const fault of schedule) terminal.event('fault', fault)
  terminal.result(`${table(['at s', 'peer', 'fault', 'for s', 'delay ms'], schedule.map(({ atMs, peer, kind, lastsMs, delayMs }) => [
    (atMs / 1_000).toFixed(1), String(peer), kind, (lastsMs / 1_000).toFixed(1), String(delayMs ?? '')
  ]))}\n`)
}

async function run (): Promise<void> {
  const abort = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => { abort.abort() })
  const starting = terminal.progress('Starting peers')
  const generating = terminal.progress('Seconds')
  try {
    const report = await runChaos({
      seed, minutes, audit, lies, signal: abort.signal,
      onStep: text => { terminal.note(text) },
      onStarted: starting,
      onFault: fault => {
        terminal.event('fault', fault)
        if (process.stderr.isTTY !== true) terminal.note(`${(fault.atMs / 1_000).toFixed(1)} s: ${describe(fault)}`)
      },
      onEvent: event => { terminal.event('client', { client: event }) },
      onTick: (seconds, ofSeconds, tokens) => {
        generating(Math.round(seconds), ofSeconds)
        terminal.event('progress', { seconds, tokens })
      }
    })
    terminal.endProgress()
    const faults = broken(report)
    terminal.event('report', { ...report, broken: faults })
    terminal.result(`${shownReport(report)}\n`)
    for (const sentence of faults) terminal.note(`Broken: ${sentence}.`)
    if (faults.length > 0) process.exitCode = 1
  } catch (error) {
    if (!abort.signal.aborted) throw error
    process.exitCode = 130
  } finally {
    terminal.endProgress()
  }
}

function describe ({ peer, kind, lastsMs, delayMs }: Fault): string {
  return `peer ${peer} ${kind}${lastsMs > 0 ? ` for ${(lastsMs / 1_000).toFixed(1)} s` : ''}${delayMs === undefined ? '' : `, ${delayMs} ms each way`}`
}
