import { once } from 'node:events'
import { inspect } from 'node:util'
import type { Command } from 'commander'
import { ApiServer, ClientMetrics, GenerationTraces, isLoopback, type LayerEvent, type MetricsServer, type RequestLog, serveMetrics, type SwarmEvent, TrafficMonitor } from '../index.js'
import { type ClientOptions, openClient, withClientOptions } from './client-options.js'
import { action, command, parse, type Run, UsageError } from './command.js'
import { cannotListen } from './http-errors.js'
import { Log, type LogOptions, logOptions } from './log.js'
import { describeLied } from './swarm-events.js'
import { formatMs, type Terminal } from './terminal.js'

interface ServeOptions extends ClientOptions, LogOptions {
  host: string
  port: number
  apiKey?: string
  cors?: string[]
  parallel: number
  queue: number
  maxTokens?: number
  maxBody: number
  metrics?: string
  trace: boolean
}

export function serveCommand (): Command {
  return logOptions(withClientOptions(command('serve', 'Serve the model to programs by an OpenAI-compatible HTTP API.', 'moeswarm serve --model ./demo.bundle --bootstrap /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW...')))
    .option('--host <address>', 'interface to listen on; 0.0.0.0 lets other machines in', '127.0.0.1')
    .option('--port <n>', '0 takes a free one', parse.count(0), 8080)
    .option('--api-key <key>', 'key that requests have to bring; as MOESWARM_API_KEY no list of processes shows it')
    .option('--cors <origin>', 'web pages that may ask, such as https://chat.example.org, or *; may be repeated', parse.collect)
    .option('--parallel <n>', 'texts that are generated at a time', parse.count(1), 4)
    .option('--queue <n>', 'texts that wait; more are refused (429)', parse.count(0), 32)
    .option('--max-tokens <n>', 'tokens of a text at most (default: up to the model\'s context)', parse.count(1))
    .option('--max-body <size>', 'size of a request', parse.bytes, 4 * 1024 * 1024)
    .option('--metrics <[host:]port>', 'serve Prometheus metrics there, on the loopback interface unless a host is named')
    .option('--no-trace', 'keep no record of times and peers for moeswarm explain')
    // A signal is the usual end of a server.
    .action(action<ServeOptions>(run, 0))
}

async function run (options: ServeOptions, { terminal, signal }: Run): Promise<void> {
  if (options.apiKey === '') throw new UsageError('The API key is empty: give one with --api-key or MOESWARM_API_KEY, or leave it out.')
  const monitor = new TrafficMonitor()
  const log = new Log(terminal, options)
  const metrics = new ClientMetrics()
  const onLayer = (event: LayerEvent): void => {
    monitor.onLayer(event)
    metrics.onLayer(event)
  }
  const traces = options.trace ? new GenerationTraces(problem => { log.write('warn', 'trace-not-kept', problem) }) : undefined
  const onEvent = (event: SwarmEvent): void => {
    metrics.onEvent(event)
    traces?.onEvent(event)
  }
  const client = await openClient(options, { terminal, signal }, { onLayer, onEvent }, log)
  let scraped: MetricsServer | undefined
  try {
    metrics.follow(client)
    scraped = options.metrics === undefined ? undefined : await serveMetrics({ listen: options.metrics, text: async () => await metrics.text() })
    const server = await ApiServer.start({
      client,
      monitor,
      host: options.host,
      port: options.port,
      apiKey: options.apiKey,
      cors: options.cors,
      limits: { concurrent: options.parallel, queued: options.queue, bodyBytes: options.maxBody, ...(options.maxTokens !== undefined && { maxTokens: options.maxTokens }) },
      paranoid: options.paranoid,
      onGenerate: event => {
        metrics.onGenerate(event)
        if (event.type === 'lied') log.write('warn', 'lied', describeLied(event), { peerId: event.peerId, replies: event.replies, again: event.again })
      },
      traces,
      onRequest: request => { logRequest(terminal, log, request) }
    }).catch((error: unknown) => { throw cannotListen(error, options.host, options.port) })
    if (options.apiKey === undefined && !isLoopback(options.host)) {
      log.write('warn', 'open', `Warning: everybody who reaches ${options.host} can use this server; set a key with --api-key or MOESWARM_API_KEY.`)
    }
    terminal.event('ready', { url: server.url, model: server.model, metrics: scraped?.url })
    log.write('info', 'ready', `Serving ${server.model} at ${server.url}/v1; the swarm and a chat at ${server.url} (Ctrl-C ends it).`, { url: server.url, model: server.model })
    if (scraped !== undefined) log.write('info', 'metrics', `Metrics at ${scraped.url}`, { url: scraped.url })
    if (!signal.aborted) await once(signal, 'abort')
    log.write('info', 'stopping', 'Finishing the answers under way ...')
    await server.stop()
    await traces?.settle()
    terminal.event('stopped')
  } finally {
    await scraped?.stop()
    await client.close()
  }
}

function logRequest (terminal: Terminal, log: Log, { method, path, status, ms, error, aborted, traceId }: RequestLog): void {
  const reason = error === undefined ? undefined : inspect(error)
  const fields = { method, path, status, ms, aborted, traceId, ...(reason !== undefined && { error: reason }) }
  terminal.event('request', fields)
  log.write(reason === undefined ? 'info' : 'error', 'request', `${method} ${path} ${aborted ? 'client left' : status} ${formatMs(ms)}${path.startsWith('/v1/') && method === 'POST' ? ` trace ${traceId}` : ''}${reason === undefined ? '' : `\n${reason}`}`, fields)
}
