import { once } from 'node:events'
import type { Command } from 'commander'
import { counted, Dashboard, formatRanges, isPath, known, type PeerLimits, PeerMetrics, type PeerStatus, returnLargePieces, serveMetrics, SwarmPeer, TrafficMonitor } from '../index.js'
import { action, command, parse, UsageError } from './command.js'
import { cannotListen } from './http-errors.js'
import { Log, type LogOptions, logOptions } from './log.js'
import { donationFields, describeDonation, logEvents } from './swarm-events.js'
import { accessListsOf, type AccessOptions, limitsOf, swarmKeyOf, type SwarmKeyOptions, withAccessLists, withLimits, withSwarmKey } from './swarm-options.js'
import { type OutputOptions } from './terminal.js'

interface PeerOptions extends OutputOptions, SwarmKeyOptions, AccessOptions, LogOptions, Partial<PeerLimits> {
  statusInterval: number
  model: string
  layers?: string
  experts?: string
  listen?: string[]
  announce?: string[]
  bootstrap?: string[]
  key?: string
  threads?: number
  mapWeights?: boolean
  donate?: number
  donateCores?: number
  source?: string
  dir?: string
  clientPart: boolean
  dashboard?: number | true
  metrics?: string
}

/** Port of the web page of a peer that names none. */
const DASHBOARD_PORT = 8090

export function peerCommand (): Command {
  return withLimits(logOptions(withAccessLists(withSwarmKey(command('peer', 'Donate CPU: host experts of a model and serve them to the swarm.', 'moeswarm peer --model ./demo.bundle --layers 0-3 --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW...')
    .requiredOption('--model <name, id or bundle dir>', 'bundle whose experts are hosted, or a kept one as `moeswarm models` shows it; with --donate also a model in the swarm')
    .option('--layers <ranges>', 'layers to host, such as 0-5,7 (default: all that the bundle holds)')
    .option('--experts <ranges>', 'experts to host in each layer, whole blocks such as 0-15 (default: all that the bundle holds)')
    .option('--donate <size>', 'host what the swarm covers least, within this memory of the whole process, such as 4GiB; fetches it from peers', parse.bytes)
    .option('--donate-cores <n>', 'with --donate: compute workers (default: all cores)', parse.count(1))
    .option('--source <checkpoint>', 'with --donate: where blocks come from that no peer has: a directory, .gguf file or hf:owner/name')
    .option('--no-client-part', 'with --donate: do not keep what users fetch to generate (disk, not memory)')
    .option('--dir <bundle dir>', 'with --donate: where a model named by its id is kept (default: under ~/.local/share/moeswarm)')
    .option('--listen <multiaddr>', 'address to listen on, may be repeated (default: a free loopback port)', parse.collect)
    .option('--announce <multiaddr>', 'address that others dial instead of those listened on (a forwarded port, a proxy), may be repeated', parse.collect)
    .option('--bootstrap <multiaddr>', 'a host that is in the swarm, may be repeated; none starts a swarm', parse.collect)
    .option('--key <file>', 'identity of this peer, created when it does not exist (default: a fresh one)')
    .option('--threads <n>', 'compute workers (default: all cores)', parse.count(1))
    .option('--map-weights', 'keep packed weights in files beside the bundle (as large as it) and map them (default: where that takes less memory: Linux x64)')
    .option('--no-map-weights', 'keep them in memory')
    .option('--dashboard [port]', `show the swarm and this peer's work on a web page of this machine (default port: ${DASHBOARD_PORT}; 0 takes a free one)`, parse.count(0))
    .option('--metrics <[host:]port>', 'serve Prometheus metrics there, on the loopback interface unless a host is named')
    .option('--status-interval <s>', 'seconds between two status events of --json, with what was served and refused', parse.count(1), 30)))))
    .action(action<PeerOptions>(async (options, { terminal, signal }) => {
      const bars = { verify: terminal.progress('Verifying blocks'), pack: terminal.progress('Packing weights, once'), load: terminal.progress('Loading experts') }
      const fetched = terminal.progress('Fetching', 'bytes')
      checkDonation(options)
      const log = new Log(terminal, options)
      const metrics = options.metrics === undefined ? undefined : new PeerMetrics()
      const noteEvent = logEvents(log)
      const scraped = metrics && await serveMetrics({ listen: options.metrics!, text: async () => await metrics.text(), healthy: () => metrics.serving })
      const failed = new AbortController()
      let ready = false
      const monitor = options.dashboard === undefined ? undefined : new TrafficMonitor()
      const peer = await SwarmPeer.start({
        ...options,
        keyFile: options.key,
        swarmKey: await swarmKeyOf(options),
        ...await accessListsOf(options),
        limits: limitsOf(options),
        threads: options.donateCores ?? options.threads,
        donate: options.donate === undefined ? undefined : { bytes: options.donate, source: options.source, dir: options.dir, clientPart: options.clientPart },
        onDonation: event => {
          if (event.type === 'fetching') return fetched(event.doneBytes, event.totalBytes)
          // The first line of --json is 'ready', which names what the first plan came to.
          if (ready) terminal.event(event.type, event)
          const text = describeDonation(event)
          if (text !== undefined) log.write(event.type.endsWith('failed') ? 'warn' : 'info', event.type, text, donationFields(event))
        },
        onProgress: ({ phase, done, total }) => { bars[phase](done, total) },
        onWorker: event => {
          if (event.type === 'worker-ended') log.write('warn', event.type, `A compute worker ended (${event.reason}); starting it again.`, { reason: event.reason })
          else log.write('info', event.type, `The compute worker is back with its ${counted(event.experts, 'expert')}.`, { experts: event.experts })
        },
        onFailure: error => { failed.abort(error) },
        onEvent: event => {
          noteEvent(event)
          metrics?.onEvent(event)
        },
        onLayer: monitor?.onLayer,
        onServed: metrics?.onServed,
        signal
      })
      terminal.endProgress()
      metrics?.follow(peer)
      const dashboard = monitor && await openDashboard(peer, monitor, options.dashboard === true ? DASHBOARD_PORT : options.dashboard ?? 0)
      logMapping(log, peer.mapping, options.mapWeights)
      const blocks = peer.blocks.map(({ layer, firstExpert, experts }) => ({ layer, firstExpert, experts }))
      terminal.event('ready', { peerId: peer.peerId, addresses: peer.addresses, model: peer.bundle.id, blocks, dashboard: dashboard?.url, metrics: scraped?.url })
      ready = true
      log.write('info', 'ready', `Peer ${peer.peerId} serves ${counted(blocks.length, 'block')} of ${known(peer.bundle).name}, model ${peer.bundle.id}, layers ${formatRanges([...new Set(blocks.map(block => block.layer))])}.`, { peerId: peer.peerId, addresses: peer.addresses, model: peer.bundle.id, blocks: blocks.length })
      if (log.text) for (const address of peer.addresses) log.write('info', 'address', `Others join with --bootstrap ${address}`)
      if (dashboard !== undefined) log.write('info', 'dashboard', `The swarm at ${dashboard.url}`, { url: dashboard.url })
      if (scraped !== undefined) log.write('info', 'metrics', `Metrics at ${scraped.url}`, { url: scraped.url })
      const end = AbortSignal.any([signal, failed.signal])
      const ticking = setInterval(() => { terminal.event('status', peer.status()) }, options.statusInterval * 1000)
      if (!end.aborted) await once(end, 'abort')
      clearInterval(ticking)
      log.write('info', 'stopping', 'Finishing the requests in flight ...')
      await Promise.all([dashboard?.stop(), scraped?.stop()])
      await peer.stop()
      const status = peer.status()
      terminal.event('stopped', status)
      const refused = refusals(status)
      log.write('info', 'served', `Served ${counted(status.requests.requests, 'request')} of ${counted(status.requests.tokens, 'token')}${refused === '' ? '' : `; refused ${refused}`}.`)
      if (failed.signal.aborted) throw failed.signal.reason
    }, 0))
}

function logMapping (log: Log, { experts, notMapped }: SwarmPeer['mapping'], asked: boolean | undefined): void {
  if (notMapped !== undefined) log.write('warn', 'not-mapped', `Weights of ${counted(experts, 'expert')} are mapped, those of others are kept in memory: ${notMapped}.`, { experts, reason: notMapped })
  else if (experts > 0) log.write('info', 'mapped', `Weights of ${counted(experts, 'expert')} are mapped.`, { experts })
  if (asked === true && !returnLargePieces()) log.write('warn', 'mapping-costs', 'The C library keeps what packing took, so mapped weights take more memory than others here.', {})
}

async function openDashboard (peer: SwarmPeer, monitor: TrafficMonitor, port: number): ReturnType<typeof Dashboard.start> {
  try {
    return await Dashboard.start({ peer, monitor, port })
  } catch (error) {
    await peer.stop()
    throw cannotListen(error, '127.0.0.1', port)
  }
}

function checkDonation ({ model, donate, donateCores, threads, source, dir, clientPart, layers, experts }: PeerOptions): void {
  if (donateCores !== undefined && threads !== undefined) throw new UsageError('Give --donate-cores or --threads, not both.')
  if (dir !== undefined && isPath(model)) throw new UsageError('--dir goes with the name or id of a model: a bundle directory is where it is.')
  if (donate !== undefined && (layers !== undefined || experts !== undefined)) throw new UsageError('Give --donate, which chooses the blocks itself, or --layers and --experts, not both.')
  if (donate === undefined && (donateCores !== undefined || source !== undefined || dir !== undefined || !clientPart)) throw new UsageError('--donate-cores, --source, --dir and --no-client-part go with --donate.')
}

/** What the limits kept off, for a person; empty when nothing was. */
function refusals ({ connections, dht, manifestsRefused, requests }: PeerStatus): string {
  const { refused, rateLimited, silent, slowWriters, slowReaders, tooFast, malformed } = requests
  const counts: Array<[number, string, string]> = [
    [Object.values(connections.refused).reduce((a, b) => a + b, 0), 'connection', ''],
    [refused, 'request', ` (${rateLimited} of them too fast)`],
    [silent + slowWriters + slowReaders + tooFast + malformed, 'stream', ' (silent, slow, too fast or malformed)'],
    [dht.recordsRefused, 'DHT record', ''],
    [dht.messagesRefused + manifestsRefused, 'message', ' of the DHT or for manifests (too fast)']
  ]
  return counts.filter(([count]) => count > 0).map(([count, what, which]) => counted(count, what) + which).join(', ')
}
