import type { IncomingMessage, ServerResponse } from 'node:http'
import { Access, type AccessInit } from './access.js'
import { ApiError } from './api-error.js'
import { HttpListener, type RequestLog } from './http-listener.js'

export interface RouteCall {
  request: IncomingMessage
  response: ServerResponse
  /** W3C trace id: the caller's, or a new one. */
  traceId: string
  /** Aborts when the client has left or the server cuts answers off. */
  signal: AbortSignal
  /** Aborts when the server begins to end: for answers that have no end of their own. */
  ending: AbortSignal
  /** What the first group of the path's pattern matched. */
  rest: string
}

export interface Route {
  method: 'GET' | 'POST'
  path: RegExp
  /** Asked without a key too. */
  open?: boolean
  handle: (call: RouteCall) => Promise<void> | void
}

export interface ListenInit extends AccessInit {
  port: number
  routes: Route[]
  onRequest?: (log: RequestLog) => void
}

/** Listens for requests to `routes`. Rejects with the system's error (`EADDRINUSE`, ...) when it cannot. */
export async function listen ({ routes, port, onRequest, ...init }: ListenInit): Promise<HttpListener> {
  const access = new Access(init)
  return await HttpListener.open({
    host: init.host,
    port,
    onRequest,
    answer: async ({ request, response, traceId, signal, ending }) => {
      for (const [name, value] of Object.entries(access.corsHeaders(request))) response.setHeader(name, value!)
      if (request.method === 'OPTIONS') {
        response.writeHead(204, access.preflightHeaders(request)).end()
        return
      }
      access.checkBrowser(request)
      const { route, rest } = find(routes, request)
      if (route.open !== true) access.checkKey(request)
      if (ending.aborted) throw new ApiError(503, 'server_error', 'The server ends: ask another one, or later.', { code: 'shutting_down', headers: { connection: 'close' } })
      await route.handle({ request, response, traceId, signal, ending, rest })
    }
  })
}

/** The route of a request, and what its path's pattern captured. @throws ApiError 404, 405 */
function find (routes: Route[], { method, url = '/' }: IncomingMessage): { route: Route, rest: string } {
  const path = decoded(url.replace(/\?.*/, '').replace(/(?<=.)\/$/, ''))
  const onPath = routes.flatMap(route => {
    const match = route.path.exec(path)
    return match === null ? [] : [{ route, rest: match[1] ?? '' }]
  })
  if (onPath.length === 0) throw new ApiError(404, 'not_found_error', `There is nothing at ${JSON.stringify(path.slice(0, 80))}; the API begins with /v1.`, { code: 'not_found' })
  const found = onPath.find(({ route }) => route.method === method || (method === 'HEAD' && route.method === 'GET'))
  if (found === undefined) {
    const allowed = [...new Set(onPath.map(({ route }) => route.method))].join(', ')
    throw new ApiError(405, 'invalid_request_error', `${path} takes ${allowed} only.`, { code: 'method_not_allowed', headers: { allow: allowed } })
  }
  return found
}

function decoded (path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}
