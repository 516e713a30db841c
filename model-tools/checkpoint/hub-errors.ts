import { ModelError } from '../errors.js'
import type { HubSettings } from './hub-settings.js'

/** An attempt that failed in a way that another may not. */
export class TransientError extends Error {
  override readonly name = 'TransientError'
  /** @param waitMs - how long the server asks to be left alone */
  constructor (message: string, readonly waitMs?: number, options?: ErrorOptions) {
    super(message, options)
  }
}

/** The server says that the repository has no such file. */
export class NoSuchFile extends Error {
  override readonly name = 'NoSuchFile'
}

/** The longest that a server may make us wait for an attempt: its limits count over five minutes. */
const MAX_WAIT_MS = 300_000
const TOO_MANY_REQUESTS = 429
const REQUEST_TIMEOUT = 408

/** Returns for an answer that can be used. Throws what anything else means: TransientError, NoSuchFile, or ModelError 'denied', 'not-found' or 'unreachable'. */
export function requireUsable (response: Response, repo: string, revision: string | undefined, { endpoint, token }: HubSettings): void {
  const { status, headers } = response
  if (response.ok) return
  if (status === TOO_MANY_REQUESTS || status === REQUEST_TIMEOUT || status >= 500) {
    throw new TransientError(`${new URL(response.url).host} answered with status ${status}`, waitOf(headers))
  }
  const code = headers.get('x-error-code')
  const page = `${endpoint}/${repo}`
  const data = { repo, status, code }
  if (status === 403 || code === 'GatedRepo') {
    throw token == null
      ? new ModelError('denied', `${page} is only for people who have accepted its licence; accept it there and give a token of that account in HF_TOKEN.`, data)
      : new ModelError('denied', `The account of your token may not read ${page}; accept the licence there, or give a token in HF_TOKEN that may read it.`, data)
  }
  if (status === 401) {
    throw token == null
      ? new ModelError('denied', `${page} cannot be read without a token: it does not exist, is private, or wants a licence to be accepted; check the spelling, or give a token in HF_TOKEN.`, data)
      : new ModelError('denied', `${endpoint} refuses your token for ${repo}; give a valid one in HF_TOKEN, and check the spelling of the repository.`, data)
  }
  if (code === 'RevisionNotFound') throw new ModelError('not-found', `${page} has no revision ${revision ?? 'main'}; give a branch, tag or commit that it has.`, { ...data, revision })
  if (status === 404 && code !== 'RepoNotFound' && new URL(response.url).pathname.includes('/resolve/')) throw new NoSuchFile(response.url)
  if (status === 404) throw new ModelError('not-found', `There is no model repository ${page}; check the spelling.`, data)
  throw new ModelError('unreachable', `${page} answered with status ${status}; check HF_ENDPOINT, or download the checkpoint by other means.`, data)
}

/** How long a server asks to be left alone: by Retry-After, in seconds or as a date, or by the Hub's RateLimit, whose `t` are the seconds until its window ends. */
export function waitOf (headers: Headers): number | undefined {
  const after = headers.get('retry-after')
  const window = /(?:^|;)\s*t=(\d+)/.exec(headers.get('ratelimit') ?? '')
  const ms = after == null ? window == null ? NaN : Number(window[1]) * 1000 : /^\d+$/.test(after) ? Number(after) * 1000 : Date.parse(after) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), MAX_WAIT_MS)
}
