import type { ServerResponse } from 'node:http'
import type { GenerateEvent } from '../client/generate.js'
import type { SwarmClient } from '../swarm-client.js'
import type { GenerationTraces } from '../trace/index.js'
import { VERSION } from '../version.js'
import { Admission } from './admission.js'
import { chatCompletions } from './chat-completions.js'
import { completions } from './completions.js'
import { clientView } from './client-view.js'
import type { HttpListener, RequestLog } from './http-listener.js'
import { readJson } from './json-body.js'
import { ModelNames } from './model-names.js'
import { pageRoutes } from './page-routes.js'
import { type ApiContext, sendJson } from './request-context.js'
import { listen, type Route } from './routes.js'
import { trafficView } from './swarm-view.js'
import { TrafficMonitor } from './traffic-monitor.js'

export interface ServeLimits {
  /** Generations at a time. @default 4 */
  concurrent: number
  /** Generations that wait; more are refused with 429. @default 32 */
  queued: number
  /** Tokens of one text, whatever the request says. @default no limit but the model's context */
  maxTokens: number
  /** Bytes of a request. @default 4 MiB */
  bodyBytes: number
  /** How long a request's body may take, in milliseconds. @default 30 000 */
  bodyMs: number
}

const DEFAULT_LIMITS: ServeLimits = { concurrent: 4, queued: 32, maxTokens: Infinity, bodyBytes: 4 * 1024 * 1024, bodyMs: 30_000 }

export interface ServeInit {
  client: SwarmClient
  /** Interface to listen on. @default 127.0.0.1, which nobody else reaches */
  host?: string
  /** 0 takes a free one. */
  port: number
  /** Key that requests have to bring. @default none */
  apiKey?: string
  /** Origins of web pages that may ask, or '*'. @default none */
  cors?: string[]
  limits?: Partial<ServeLimits>
  /** Computes again what came after the first reply of a peer that turns out to lie. Streams then get their text when it is whole. @default false */
  paranoid?: boolean
  /** Its `onLayer` has to be the client's, for traffic to be seen. @default one that sees generations only */
  monitor?: TrafficMonitor
  /** Called with each event of each generation, for `ClientMetrics`. */
  onGenerate?: (event: GenerateEvent) => void
  /** Keeps a trace of each text for moeswarm explain; its `onEvent` has to be the client's. @default none are kept */
  traces?: GenerationTraces
  onRequest?: (log: RequestLog) => void
}

/** An OpenAI-compatible HTTP API of a SwarmClient. Stop it before the client is closed. */
export class ApiServer {
  private constructor (private readonly listener: HttpListener, readonly model: string) {}

  /** Rejects with the system's error (`EADDRINUSE`, ...) when it cannot listen. */
  static async start (init: ServeInit): Promise<ApiServer> {
    const host = init.host ?? '127.0.0.1'
    const limits = { ...DEFAULT_LIMITS, ...init.limits }
    const { client } = init
    const names = new ModelNames(client.bundle, Math.floor(Date.now() / 1000))
    const context: ApiContext = {
      client,
      names,
      monitor: init.monitor ?? new TrafficMonitor(),
      onGenerate: init.onGenerate,
      traces: init.traces,
      admission: new Admission(limits.concurrent, limits.queued),
      maxTokens: limits.maxTokens,
      paranoid: init.paranoid ?? false,
      fingerprint: `moeswarm-${VERSION}-${client.bundle.id.slice(0, 12)}`
    }
    const routes = [...apiRoutes(context, limits), ...pageRoutes({ view: () => clientView(context), traffic: () => trafficView(context.monitor) })]
    const listener = await listen({ host, port: init.port, apiKey: init.apiKey, cors: init.cors ?? [], routes, onRequest: init.onRequest })
    return new ApiServer(listener, names.id)
  }

  get url (): string { return this.listener.url }

  /** Lets answers end for `drainMs`, then cuts them off. @param drainMs - default DRAIN_MS */
  async stop (drainMs?: number): Promise<void> { await this.listener.stop(drainMs) }
}

function apiRoutes (context: ApiContext, { bodyBytes, bodyMs }: ServeLimits): Route[] {
  const post = (path: RegExp, handle: typeof completions): Route => ({
    method: 'POST',
    path,
    handle: async ({ request, response, traceId, signal }) => { await handle(context, { body: await readJson(request, bodyBytes, bodyMs), response, traceId, signal }) }
  })
  return [
    post(/^\/v1\/chat\/completions$/, chatCompletions),
    post(/^\/v1\/completions$/, completions),
    { method: 'GET', path: /^\/v1\/models$/, handle: ({ response }) => { sendJson(response, 200, context.names.list()) } },
    { method: 'GET', path: /^\/v1\/models\/(.+)$/, handle: ({ response, rest }) => { sendJson(response, 200, context.names.describe(rest)) } },
    { method: 'GET', path: /^\/health$/, open: true, handle: async ({ response }) => { await health(context, response) } }
  ]
}

/** 503 while experts are missing that this machine cannot compute either: a load balancer then asks elsewhere. */
async function health ({ client, names, admission }: ApiContext, response: ServerResponse): Promise<void> {
  const lacking = await client.lacking()
  const missing = lacking.filter(({ copied }) => !copied).map(({ layer }) => layer)
  sendJson(response, missing.length === 0 ? 200 : 503, {
    status: missing.length === 0 ? 'ok' : 'experts-unavailable',
    model: names.id,
    peers: client.livePeers().length,
    missing_layers: missing,
    copied_layers: lacking.filter(({ copied }) => copied).map(({ layer }) => layer),
    active: admission.active,
    queued: admission.waiting
  })
}
