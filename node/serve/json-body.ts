import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { ApiError, invalid } from './api-error.js'

/** How long a body that is too large is read and thrown away, in milliseconds, so that its sender sees the answer instead of a reset. */
const DISCARD_MS = 1_000

/** The JSON object of a request's body. @throws ApiError 400, 408 or 413 */
export async function readJson (request: IncomingMessage, limitBytes: number, timeoutMs: number): Promise<object> {
  const text = await readText(request, limitBytes, timeoutMs)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw invalid(`The body is no JSON: ${error instanceof Error ? error.message : String(error)}.`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('The body is not a JSON object.')
  return value
}

async function readText (request: IncomingMessage, limitBytes: number, timeoutMs: number): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  const timer = new AbortController()
  const ended = new Promise<'ended'>((resolve, reject) => {
    request.once('end', () => { resolve('ended') }).once('error', reject)
  })
  const tooMany = new Promise<'too-many'>(resolve => {
    if (Number(request.headers['content-length'] ?? 0) > limitBytes) resolve('too-many')
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes <= limitBytes) chunks.push(chunk)
      else resolve('too-many')
    })
  })
  const outcome = await Promise.race([tooMany, ended, sleep(timeoutMs, 'late' as const, { signal: timer.signal })]).finally(() => { timer.abort() })
  if (outcome === 'ended') return Buffer.concat(chunks).toString('utf8')
  const close = { connection: 'close' }
  if (outcome === 'late') throw new ApiError(408, 'invalid_request_error', `The body was not complete after ${timeoutMs / 1000} s.`, { code: 'request_timeout', headers: close })
  await Promise.race([ended, sleep(DISCARD_MS)])
  throw new ApiError(413, 'invalid_request_error', `The body is larger than ${limitBytes} bytes.`, { code: 'request_too_large', headers: close })
}
