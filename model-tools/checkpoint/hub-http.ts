import { ModelError } from '../errors.js'
import { NoSuchFile, requireUsable, TransientError, waitOf } from './hub-errors.js'
import type { HubSettings } from './hub-settings.js'

/** Attempts in a row that bring nothing: with the waits between them, two minutes or so. */
const ATTEMPTS = 9
/** The same until the server has answered once: more likely than a break are a wrong address or no network. */
const FIRST_ATTEMPTS = 4
const FIRST_WAIT_MS = 500
const MAX_BACKOFF_MS = 30_000

/** `alive` is called whenever something has come. */
type Attempt<T> = (signal: AbortSignal, alive: () => void) => Promise<T>

/** A file that is read by ranges, where it is now. */
export interface RemoteFile {
  /** At the endpoint, good for as long as the commit is. */
  url: string
  bytes: number
  /** Where the endpoint has sent us for the content: signed, good for some minutes to hours, and not to be shown our token. */
  signed?: string
}

/**
 * Requests about one repository: with the token where it belongs, tried again where that may help, and with errors that say what to do. A body that
 * breaks off goes on from the byte where it broke.
 */
export class HubHttp {
  readonly #closed = new AbortController()
  readonly #origin: string
  #hasAnswered = false

  constructor (private readonly settings: HubSettings, private readonly repo: string, private readonly revision?: string, private readonly signal?: AbortSignal) {
    this.#origin = new URL(settings.endpoint).origin
    if (signal?.aborted === true) this.#interrupt()
    signal?.addEventListener('abort', this.#interrupt)
  }

  /**
   * Takes the place of the global one in @huggingface/hub. Rejects with ModelError, or NoSuchFile. Bodies in JSON are read whole before it resolves, so
   * that they are tried again, too; others are not read, as a server that knows no ranges would send gigabytes.
   */
  readonly fetch: typeof fetch = async (input, init) => this.#retry(async signal => {
    const response = await this.#request(input instanceof Request ? input.url : input.toString(), { ...init, signal })
    const isJson = response.headers.get('content-type')?.startsWith('application/json') === true
    const body = isJson ? await response.arrayBuffer() : undefined
    if (!isJson) await response.body?.cancel()
    const { status, headers, url } = response
    // The package looks at the address that answered, which a response of our own making would not have.
    return Object.defineProperty(new Response(body, { status, headers }), 'url', { value: url })
  })

  /** Bytes [start, start + length) of a file. Rejects with ModelError. */
  async range (file: RemoteFile, start: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length)
    let done = 0
    const readOn: Attempt<void> = async (signal, alive) => {
      const response = await this.#requestRange(file, start + done, start + length - 1, signal)
      for await (const piece of response.body as AsyncIterable<Uint8Array>) {
        alive()
        if (piece.length > length - done) throw this.#wrongAnswer(file, 'with more bytes than were asked for')
        bytes.set(piece, done)
        done += piece.length
      }
      if (done < length) throw new TransientError(`the connection to ${new URL(response.url).host} broke off`)
    }
    if (length > 0) await this.#retry(readOn, () => done)
    return bytes
  }

  /** Breaks off everything that is under way. */
  close (): void {
    this.signal?.removeEventListener('abort', this.#interrupt)
    this.#closed.abort(new Error('The repository was closed'))
  }

  readonly #interrupt = (): void => { this.#closed.abort(this.signal?.reason) }

  async #requestRange (file: RemoteFile, first: number, last: number, signal: AbortSignal): Promise<Response> {
    const { url, signed } = file
    let response: Response
    try {
      response = await this.#request(signed ?? url, { headers: { range: `bytes=${first}-${last}` }, signal })
    } catch (error) {
      // It may have run out; the endpoint gives another.
      file.signed = undefined
      throw error
    }
    const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '')
    const isWhole = response.status === 200 && first === 0 && last === file.bytes - 1
    if (!isWhole && (response.status !== 206 || range == null || Number(range[1]) !== first || Number(range[2]) !== last || (range[3] !== '*' && Number(range[3]) !== file.bytes))) {
      await response.body?.cancel()
      throw this.#wrongAnswer(file, response.status === 206 ? `with ${response.headers.get('content-range')} to bytes ${first}-${last} of ${file.bytes}` : 'with the whole of a file to a request for a part')
    }
    if (new URL(response.url).origin !== this.#origin) file.signed = response.url
    return response
  }

  /** Rejects as fetch does, with TransientError, and as requireUsable throws. */
  async #request (url: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers)
    if (this.settings.token != null && new URL(url).origin === this.#origin) headers.set('authorization', `Bearer ${this.settings.token}`)
    const response = await fetch(url, { ...init, headers })
    this.#hasAnswered = true
    if (!response.ok) await response.body?.cancel()
    const { origin, host } = new URL(response.url)
    // Storage knows nothing of repositories: what it refuses is the signature, which the endpoint renews.
    if (!response.ok && origin !== this.#origin) throw new TransientError(`${host} answered with status ${response.status}`, waitOf(response.headers))
    requireUsable(response, this.repo, this.revision, this.settings)
    return response
  }

  /** One attempt, broken off when nothing comes or the repository is closed. Makes errors of the network TransientErrors. */
  async #try<T> (attempt: Attempt<T>): Promise<T> {
    const closed = this.#closed.signal
    const abort = new AbortController()
    const close = (): void => { abort.abort(closed.reason) }
    closed.throwIfAborted()
    closed.addEventListener('abort', close)
    const { stallMs } = this.settings
    const timer = setTimeout(() => { abort.abort(new TransientError(`nothing has come for ${stallMs / 1000} seconds`)) }, stallMs)
    try {
      return await attempt(abort.signal, () => timer.refresh())
    } catch (error) {
      abort.signal.throwIfAborted()
      if (error instanceof ModelError || error instanceof NoSuchFile || error instanceof TransientError) throw error
      throw new TransientError(problemOf(error), undefined, { cause: error })
    } finally {
      clearTimeout(timer)
      closed.removeEventListener('abort', close)
    }
  }

  /** `progress` grows when an attempt that failed has brought something all the same: then it does not count as one. */
  async #retry<T> (attempt: Attempt<T>, progress = (): number => 0): Promise<T> {
    let failures = 0
    let before = progress()
    for (;;) {
      try {
        return await this.#try(attempt)
      } catch (error) {
        if (!(error instanceof TransientError)) throw error
        if (progress() > before) failures = 0
        before = progress()
        if (++failures >= (this.#hasAnswered ? ATTEMPTS : FIRST_ATTEMPTS)) throw this.#unreachable(error, failures)
        await this.settings.sleep(error.waitMs ?? Math.min(FIRST_WAIT_MS * 2 ** (failures - 1), MAX_BACKOFF_MS), this.#closed.signal)
      }
    }
  }

  #unreachable (error: TransientError, attempts: number): ModelError {
    return new ModelError('unreachable', `${this.settings.endpoint}/${this.repo} could not be read in ${attempts} attempts (${error.message}); check the network and run the same command again, it goes on from where it was.`,
      { repo: this.repo, attempts }, { cause: error })
  }

  #wrongAnswer ({ url }: RemoteFile, how: string): ModelError {
    return new ModelError('unreachable', `${url} was answered ${how}; the server or a proxy on the way does not serve byte ranges, use another HF_ENDPOINT or download the checkpoint.`, { repo: this.repo })
  }
}

/** fetch says only that it has failed; why is in its cause. */
function problemOf (error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  if (!(cause instanceof Error)) return String(cause)
  // Several addresses of one host were tried: the first error stands for all.
  const first: unknown = cause instanceof AggregateError ? cause.errors[0] : cause
  return first instanceof Error ? first.message : cause.message
}

