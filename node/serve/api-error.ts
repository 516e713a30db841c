import { ModelError } from '../../model-tools/index.js'
import { asSwarmError, isSwarmError } from '../../swarm/index.js'

/** The kinds of errors that OpenAI's API has. */
export type ApiErrorType = 'invalid_request_error' | 'authentication_error' | 'permission_error' | 'not_found_error' | 'rate_limit_error' | 'server_error'

interface Detail {
  /** For programs. */
  code?: string
  /** Field of the request that is wrong. */
  param?: string
  headers?: Record<string, string>
  cause?: unknown
}

/** When to come back after experts were not to be had, in seconds: the directory has looked for new peers by then. */
const RETRY_AFTER_UNAVAILABLE_S = 5

/** An answer that is an error, in OpenAI's format. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly code: string | null
  readonly param: string | null
  readonly headers: Record<string, string>

  constructor (readonly status: number, readonly type: ApiErrorType, message: string, { code, param, headers = {}, cause }: Detail = {}) {
    super(message, { cause })
    this.code = code ?? null
    this.param = param ?? null
    this.headers = headers
  }

  body (): object {
    return { error: { message: this.message, type: this.type, param: this.param, code: this.code } }
  }
}

export function invalid (message: string, param?: string, code?: string): ApiError {
  return new ApiError(400, 'invalid_request_error', message, { param, code })
}

/** Any error as an answer. What is no fault of request or swarm says nothing of our insides; it is the `cause`. */
export function toApiError (error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (error instanceof ModelError && (error.code === 'out-of-range' || error.code === 'unsupported')) {
    return invalid(error.message, undefined, 'maxPositions' in error.data ? 'context_length_exceeded' : undefined)
  }
  if (isSwarmError(error, 'busy')) {
    return new ApiError(429, 'rate_limit_error', error.message, { code: error.code, headers: retryAfter(error.data.retryAfterMs / 1000), cause: error })
  }
  const swarm = asSwarmError(error)
  if (swarm !== undefined && swarm.code !== 'bad-argument') {
    return new ApiError(503, 'server_error', swarm.message, { code: swarm.code, headers: retryAfter(RETRY_AFTER_UNAVAILABLE_S), cause: error })
  }
  return new ApiError(500, 'server_error', 'The server failed; its log says why.', { code: 'internal_error', cause: error })
}

export function retryAfter (seconds: number): Record<string, string> {
  return { 'retry-after': String(Math.max(1, Math.ceil(seconds))) }
}
