import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { anySignal } from 'any-signal'
import { newTraceId, parseTraceId } from '../../swarm/index.js'
import { ApiError, toApiError } from './api-error.js'

/** A request that was answered, for a log. */
export interface RequestLog {
  method: string
  path: string
  status: number
  ms: number
  /** Of an answer 500: what really happened. */
  error?: unknown
  /** The client left before the end. */
  aborted: boolean
  /** W3C trace id, the caller's where there was one; the answer has it as x-request-id. */
  traceId: string
}

/** A request that is being answered. */
export interface HttpCall {
  request: IncomingMessage
  response: ServerResponse
  traceId: string
  /** Aborts when the client leaves or answers are cut off. */
  signal: AbortSignal
  /** Aborts when the listener begins to end. */
  ending: AbortSignal
}

export interface HttpListenerInit {
  host: string
  port: number
  /** Answers, or rejects with what becomes an answer. */
  answer: (call: HttpCall) => Promise<void>
  onRequest?: (log: RequestLog) => void
}

/** Heads of requests that take longer are dropped, in milliseconds. */
const HEADERS_TIMEOUT_MS = 10_000

/** How long answers may go on when the listener stops, in milliseconds. */
export const DRAIN_MS = 10_000

/** An HTTP server whose handlers reject with errors, that knows its requests, and that can end. */
export class HttpListener {
  private readonly ending = new AbortController()
  private readonly stopping = new AbortController()
  private readonly inFlight = new Set<Promise<void>>()

  private address = ''

  private constructor (private readonly server: Server, private readonly init: HttpListenerInit) {}

  /** Rejects with the system's error when it cannot listen. */
  static async open (init: HttpListenerInit): Promise<HttpListener> {
    const server = createServer({ headersTimeout: HEADERS_TIMEOUT_MS })
    const listener = new HttpListener(server, init)
    server.on('request', (request, response) => { listener.accept(request, response) })
    server.on('clientError', answerBrokenHttp)
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(init.port, init.host, resolve)
    })
    const { address, port, family } = server.address() as AddressInfo
    listener.address = `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
    return listener
  }

  get url (): string { return this.address }

  /** Takes no more connections, lets answers end for `drainMs`, then cuts them off. */
  async stop (drainMs = DRAIN_MS): Promise<void> {
    this.ending.abort()
    const closed = new Promise<void>(resolve => { this.server.close(() => { resolve() }) })
    this.server.closeIdleConnections()
    const late = setTimeout(() => { this.stopping.abort(new ApiError(503, 'server_error', 'The server ends.', { code: 'shutting_down' })) }, drainMs)
    while (this.inFlight.size > 0) await Promise.all(this.inFlight)
    clearTimeout(late)
    this.server.closeAllConnections()
    await closed
  }

  private accept (request: IncomingMessage, response: ServerResponse): void {
    const answered = this.answer(request, response).finally(() => { this.inFlight.delete(answered) })
    this.inFlight.add(answered)
  }

  private async answer (request: IncomingMessage, response: ServerResponse): Promise<void> {
    const start = performance.now()
    const left = new AbortController()
    response.once('close', () => { if (!response.writableFinished) left.abort(new Error('the client has left')) })
    // Errors of a socket that is gone are no news.
    request.on('error', () => {})
    response.on('error', () => {})
    const { traceparent } = request.headers
    const traceId = parseTraceId(typeof traceparent === 'string' ? traceparent : '') ?? newTraceId()
    response.setHeader('x-request-id', traceId)
    let failure: unknown
    const either = anySignal([left.signal, this.stopping.signal])
    try {
      await this.init.answer({ request, response, traceId, signal: either, ending: this.ending.signal })
    } catch (error) {
      const known = toApiError(this.stopping.signal.aborted && !left.signal.aborted ? this.stopping.signal.reason : error)
      if (known.status >= 500 && known.cause !== undefined && !left.signal.aborted) failure = known.cause
      if (!response.destroyed) answerError(response, known)
    } finally {
      either.clear()
    }
    this.init.onRequest?.({
      method: request.method ?? '', path: (request.url ?? '').replace(/\?.*/, ''), status: response.statusCode, ms: performance.now() - start, error: failure, aborted: left.signal.aborted, traceId
    })
  }
}

/** As an answer of its own, or, in a stream that has begun, as its last event. */
function answerError (response: ServerResponse, error: ApiError): void {
  const text = JSON.stringify(error.body())
  if (response.headersSent) {
    response.end(`data: ${text}\n\n`)
    return
  }
  response.writeHead(error.status, { 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(text), ...error.headers })
  response.end(text)
}

/** What is no HTTP, or too slow to be, gets its answer too. */
function answerBrokenHttp (error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const status = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : error.code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request'
  const text = JSON.stringify(new ApiError(parseInt(status), 'invalid_request_error', `${status.slice(4)}.`).body())
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
}
