import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import { isIP } from 'node:net'
import { ApiError } from './api-error.js'

export interface AccessInit {
  /** Without one, everybody who reaches the port may ask. */
  apiKey?: string
  /** Origins of web pages of others that may ask, or '*'. */
  cors: string[]
  /** Where the server listens. */
  host: string
}

const PREFLIGHT_SECONDS = '600'

/** Who may ask. Programs send no Origin; what a browser sends on behalf of somebody's page is refused unless that page may ask. */
export class Access {
  constructor (private readonly init: AccessInit) {}

  /** Headers that let a page of another origin read the answer. */
  corsHeaders ({ headers }: IncomingMessage): OutgoingHttpHeaders {
    const { origin } = headers
    if (origin === undefined || !this.allows(origin)) return {}
    return { 'access-control-allow-origin': origin, vary: 'Origin', 'access-control-expose-headers': 'retry-after, x-request-id' }
  }

  /** Answer to a browser that asks whether it may ask. */
  preflightHeaders (request: IncomingMessage): OutgoingHttpHeaders {
    const cors = this.corsHeaders(request)
    if (cors['access-control-allow-origin'] === undefined) return {}
    return {
      ...cors,
      'access-control-allow-methods': 'GET, POST, OPTIONS',
      'access-control-allow-headers': request.headers['access-control-request-headers'] ?? 'authorization, content-type',
      'access-control-max-age': PREFLIGHT_SECONDS
    }
  }

  /**
   * A page whose name was made to point at this machine (DNS rebinding) has its own name in `Host`, and a page of another origin has it in `Origin`.
   * @throws ApiError 403
   */
  checkBrowser ({ headers }: IncomingMessage): void {
    if (this.init.apiKey === undefined && isLoopback(this.init.host) && !isLoopback(hostname(headers.host ?? ''))) {
      throw new ApiError(403, 'permission_error', 'This server listens on this machine only; ask it as localhost.', { code: 'host_not_allowed' })
    }
    const { origin } = headers
    if (origin === undefined || this.allows(origin) || origin.replace(/^https?:\/\//, '') === headers.host) return
    throw new ApiError(403, 'permission_error', 'Pages of this origin may not ask; start the server with --cors to let them.', { code: 'origin_not_allowed' })
  }

  /** @throws ApiError 401 */
  checkKey ({ headers }: IncomingMessage): void {
    const { apiKey } = this.init
    if (apiKey === undefined) return
    const given = /^Bearer (.*)$/i.exec(headers.authorization ?? '')?.[1]
    if (given === undefined) throw unauthorized('This server wants an API key: send it as "Authorization: Bearer KEY".')
    // Digests are of one length, and comparing them tells nothing of the key by the time that it takes.
    const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
    if (!timingSafeEqual(digest(given), digest(apiKey))) throw unauthorized('The API key is wrong.')
  }

  private allows (origin: string): boolean {
    return this.init.cors.includes('*') || this.init.cors.includes(origin)
  }
}

function unauthorized (message: string): ApiError {
  return new ApiError(401, 'authentication_error', message, { code: 'invalid_api_key', headers: { 'www-authenticate': 'Bearer' } })
}

/** Without port and brackets. */
function hostname (host: string): string {
  return host.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
}

export function isLoopback (host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}
