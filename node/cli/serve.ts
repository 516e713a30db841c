import { once } from 'node:events'
import { inspect } from 'node:util'
import type { Command } from 'commander'
import { isLoopback } from '../serve/access.js'
import { ApiServer } from '../serve/api-server.js'
import type { RequestLog } from '../serve/http-listener.js'
import { TrafficMonitor } from '../serve/traffic-monitor.js'
import { type ClientOptions, openClient, withClientOptions } from './client-options.js'
import { action, command, parse, type Run, UsageError } from './command.js'
import { cannotListen } from './http-errors.js'
import { formatMs, type Terminal } from './terminal.js'

interface ServeOptions extends ClientOptions {
  host: string
  port: number
  apiKey?: string
  cors?: string[]
  parallel: number
  queue: number
  maxTokens?: number
  maxBody: number
}

export function serveCommand (): Command {
  return withClientOptions(command('serve', 'Serve the model to programs by an OpenAI-compatible HTTP API.', 'moeswarm serve --model ./demo.bundle --bootstrap /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW...'))
    .option('--host <address>', 'interface to listen on; 0.0.0.0 lets other machines in', '127.0.0.1')
    .option('--port <n>', '0 takes a free one', parse.count(0), 8080)
    .option('--api-key <key>', 'key that requests have to bring; as MOESWARM_API_KEY no list of processes shows it')
    .option('--cors <origin>', 'web pages that may ask, such as https://chat.example.org, or *; may be repeated', parse.collect)
    .option('--parallel <n>', 'texts that are generated at a time', parse.count(1), 4)
    .option('--queue <n>', 'texts that wait; more are refused (429)', parse.count(0), 32)
    .option('--max-tokens <n>', 'tokens of a text at most (default: up to the model\'s context)', parse.count(1))
    .option('--max-body <size>', 'size of a request', parse.bytes, 4 * 1024 * 1024)
    // A signal is the usual end of a server.
    .action(action<ServeOptions>(run, 0))
}

async function run (options: ServeOptions, { terminal, signal }: Run): Promise<void> {
  if (options.apiKey === '') throw new UsageError('The API key is empty: give one with --api-key or MOESWARM_API_KEY, or leave it out.')
  const monitor = new TrafficMonitor()
  const client = await openClient(options, { terminal, signal }, { assistant: true, onLayer: monitor.onLayer })
  try {
    const server = await ApiServer.start({
      client,
      monitor,
      host: options.host,
      port: options.port,
      apiKey: options.apiKey,
      cors: options.cors,
      limits: { concurrent: options.parallel, queued: options.queue, bodyBytes: options.maxBody, ...(options.maxTokens !== undefined && { maxTokens: options.maxTokens }) },
      onRequest: log => { logRequest(terminal, log) }
    }).catch((error: unknown) => { throw cannotListen(error, options.host, options.port) })
    if (options.apiKey === undefined && !isLoopback(options.host)) {
      terminal.note(`Warning: everybody who reaches ${options.host} can use this server; set a key with --api-key or MOESWARM_API_KEY.`)
    }
    terminal.event('ready', { url: server.url, model: server.model })
    terminal.note(`Serving ${server.model} at ${server.url}/v1; the swarm and a chat at ${server.url} (Ctrl-C ends it).`)
    if (!signal.aborted) await once(signal, 'abort')
    terminal.note('Finishing the answers under way ...')
    await server.stop()
    terminal.event('stopped')
  } finally {
    await client.close()
  }
}

function logRequest (terminal: Terminal, { method, path, status, ms, error, aborted }: RequestLog): void {
  const reason = error === undefined ? undefined : inspect(error)
  terminal.event('request', { method, path, status, ms, aborted, ...(reason !== undefined && { error: reason }) })
  terminal.note(`${method} ${path} ${aborted ? 'client left' : status} ${formatMs(ms)}${reason === undefined ? '' : `\n${reason}`}`)
}
