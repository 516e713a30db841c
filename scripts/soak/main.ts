import { loadavg } from 'node:os'
import { table, Terminal } from '../../node/cli/terminal.js'
import { GeneratingClient, localStories, openLocalClient, openSwarmClient } from '../chaos/generating-client.js'
import { LAYOUT } from '../chaos/layout.js'
import { quantile } from '../chaos/report.js'
import { PeerSwarm } from '../chaos/swarm.js'
import { demoBundle } from '../demo-bundle.js'
import { scriptOptions, wrongUse } from '../script-options.js'
import { behindCollections } from './collector.js'
import { type Allowed, linearFit, verdict, windows } from './fit.js'
import { type Figure, Samples } from './samples.js'

const HELP = `npm run soak -- [--minutes 30] [--pause 20] [--json]

Six peer processes of the demo model, two with each layer, and a client that generates all the time. Memory, open files, sockets and active resources of each
process and the latency of a token beside that of the same text all local in the same seconds, as a line through the medians of windows of a twentieth of the run,
its first fifth left out: caches fill and compilers come to rest. All processes collect their garbage every 10 s and have a young generation of a fixed size, see
scripts/soak/collector.ts. Exit code 1 unless all is flat by two standard errors, no token differs from the all-local run, and no generation fails.

  --minutes <m>   how long (default: 30)
  --pause <ms>    between two tokens, for a machine that has other work too (default: 20; 0 for none)
`
const WINDOWS = 20
const WARM_UP = 0.2
const ALLOWED = {
  'memory MiB': { share: 0.05, amount: 5 }, 'open files': { share: 0, amount: 2 }, sockets: { share: 0, amount: 2 }, 'active resources': { share: 0, amount: 3 }, 'ms a token / all local': { share: 0.1, amount: 0 }
} satisfies Partial<Record<Figure, Allowed>>
const isJudged = (figure: Figure): figure is keyof typeof ALLOWED => figure in ALLOWED
/** Every layer whole on two peers. */
const SOAK_LAYOUT = LAYOUT.slice(0, 6)

const options = scriptOptions(HELP, { minutes: { type: 'string', default: '30' }, pause: { type: 'string', default: '20' } })
const [minutes, pauseMs] = [Number(options.minutes), Number(options.pause)]
const terminal = new Terminal(options)
if (!(minutes > 0) || !(pauseMs >= 0)) wrongUse('--minutes is above 0 and --pause 0 or more.')
await soak()

async function soak (): Promise<void> {
  const end = new AbortController()
  let interrupted = false
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => { interrupted = true; end.abort() })
  const model = await demoBundle('f32')
  const stories = await localStories(model)
  terminal.note(`Starting ${SOAK_LAYOUT.length} peers ...`)
  const swarm = await PeerSwarm.start(model, SOAK_LAYOUT, { signal: end.signal, nodeArgs: process.execArgv })
  try {
    const client = await openSwarmClient(model, swarm.entrances(), { copyMemory: 0 })
    const local = await openLocalClient(model)
    try {
      const samples = new Samples()
      // What is kept here must not grow itself: a median for each look.
      let gaps: number[] = []
      let localGaps: number[] = []
      const generating = new GeneratingClient(client, stories, (_, gapMs) => { gaps.push(gapMs) })
      const baseline = new GeneratingClient(local, stories, (_, gapMs) => { localGaps.push(gapMs) })
      // The same text all local behind each one: how fast the machine is just then.
      const afterStory = async (): Promise<void> => { await baseline.tell(stories[(generating.generations - 1) % stories.length], end.signal, pauseMs) }
      const stopLooking = behindCollections(() => {
        swarm.peers.forEach((peer, at) => { void samples.look(`peer ${at}`, peer!.child.pid!) })
        void samples.look('client', process.pid)
        samples.add('client', 'active resources', process.getActiveResourcesInfo().length)
        terminal.event('progress', { tokens: generating.tokens })
        if (gaps.length === 0 || localGaps.length === 0) return
        const tokenMs = quantile(gaps, 0.5)
        samples.add('client', 'ms a token', tokenMs)
        samples.add('client', 'ms a token / all local', tokenMs / quantile(localGaps, 0.5))
        gaps = []
        localGaps = []
      })
      const timer = setTimeout(() => { end.abort() }, minutes * 60_000)
      terminal.note(`Generating for ${minutes} min ...`)
      await generating.run(end.signal, { pauseMs, afterStory })
      stopLooking()
      clearTimeout(timer)
      if (!interrupted) report(samples, generating)
    } finally {
      await Promise.all([client.close(), local.close()])
    }
  } finally {
    await swarm.stop()
  }
  if (interrupted) process.exitCode = 130
}

function report (samples: Samples, { tokens, differing, failures }: GeneratingClient): void {
  const rows = [...samples.series].flatMap(([who, figures]) => [...figures].map(([figure, points]) => {
    const fit = linearFit(windows(points, minutes / WINDOWS).filter(point => point.minutes >= WARM_UP * minutes))
    return { who, figure, ...fit, verdict: isJudged(figure) ? verdict(fit, ALLOWED[figure]) : '' }
  }))
  const isWell = rows.every(row => row.verdict === 'flat' || row.verdict === '') && differing === 0 && failures.length === 0
  terminal.event('report', { minutes, tokens, differing, failures, rows, flat: isWell })
  terminal.result(`${table(['process', 'figure', 'at first', 'gained', '+-', ''], rows.map(({ who, figure, first, gained, error, verdict }) => [
    who, figure, first.toFixed(1), gained.toFixed(2), (2 * error).toFixed(2), verdict === 'grows' ? 'GROWS' : verdict
  ]))}\n
${tokens} tokens in ${minutes} min, ${pauseMs} ms apart; ${differing} differ from the all-local run, ${failures.length} generations failed. Load average ${loadavg().map(load => load.toFixed(1)).join(', ')}.
A line through the medians of windows, over the last ${100 * (1 - WARM_UP)} % of the run; +- two standard errors.\n`)
  for (const { code, message, atMs } of failures) terminal.note(`Failed after ${((atMs - samples.startedAtMs) / 60_000).toFixed(1)} min: ${code}, ${message}`)
  if (!isWell) process.exitCode = 1
}
