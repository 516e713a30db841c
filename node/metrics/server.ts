import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SwarmError } from '../../swarm/index.js'

export interface ServeMetricsInit {
  /** '[host:]port', see `parseHostPort`. */
  listen: string
  /** The exposition, made at each scrape. */
  text: () => Promise<string>
  /** Whether supervisors shall leave the process alone. @default always */
  healthy?: () => boolean
}

export interface MetricsServer {
  /** http://host:port/metrics */
  readonly url: string
  stop: () => Promise<void>
}

const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/**
 * Answers GET /metrics for Prometheus, and GET /healthz for supervisors with 200 or 503.
 * @throws SwarmError 'bad-address', 'port-in-use', 'cannot-listen'
 */
export async function serveMetrics ({ listen, text, healthy = () => true }: ServeMetricsInit): Promise<MetricsServer> {
  const { host, port } = parseHostPort(listen)
  const server = createServer((request, response) => {
    const path = request.url?.split('?', 1)[0]
    if (request.method !== 'GET' || (path !== '/metrics' && path !== '/healthz')) {
      response.writeHead(request.method === 'GET' ? 404 : 405).end()
      return
    }
    if (path === '/healthz') {
      response.writeHead(healthy() ? 200 : 503, { 'content-type': 'text/plain' }).end(healthy() ? 'ok\n' : 'starting\n')
      return
    }
    text().then(
      body => { response.writeHead(200, { 'content-type': CONTENT_TYPE }).end(body) },
      () => { response.writeHead(500).end() }
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE'
        ? new SwarmError('port-in-use', `Metrics cannot be served on ${listen}: the port is in use; give another with --metrics.`, { address: listen }, { cause: error })
        : new SwarmError('cannot-listen', `Metrics cannot be served on ${listen} (${error.code}): give --metrics an address of this machine.`, { address: listen }, { cause: error }))
    })
    server.listen(port, host, resolve)
  })
  const address = server.address() as AddressInfo
  return {
    url: `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}/metrics`,
    stop: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    }
  }
}

/** '9464' is that port of the loopback interface, '0.0.0.0:9464' and '[::]:9464' name another. @throws SwarmError 'bad-address' */
export function parseHostPort (text: string): { host: string, port: number } {
  const match = /^(?:(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):)?(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65_535) throw new SwarmError('bad-address', `${JSON.stringify(text)} is no address to listen on: it should look like 9464, 0.0.0.0:9464 or [::]:9464.`, { address: text })
  return { host: match[1] ?? match[2] ?? '127.0.0.1', port }
}
