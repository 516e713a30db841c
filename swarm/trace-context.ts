import { randomBytes } from 'node:crypto'

/** Bytes of a W3C trace id and of a span id. */
const TRACE_ID_BYTES = 16
const SPAN_ID_BYTES = 8

/** On the wire: trace id, then span id. */
export const TRACE_BYTES = TRACE_ID_BYTES + SPAN_ID_BYTES

/** Names a request so that a client's log and a peer's can be joined: W3C Trace Context, as OpenTelemetry has it. Hexadecimal. */
export interface RequestTrace {
  traceId: string
  /** Of this request; the caller's spans are above it. */
  spanId: string
}

export function newTraceId (): string {
  return randomBytes(TRACE_ID_BYTES).toString('hex')
}

export function newRequestTrace (traceId: string): RequestTrace {
  return { traceId, spanId: randomBytes(SPAN_ID_BYTES).toString('hex') }
}

export function traceBytes ({ traceId, spanId }: RequestTrace): Buffer {
  return Buffer.from(traceId + spanId, 'hex')
}

/** @param bytes - TRACE_BYTES of them */
export function traceOf (bytes: Uint8Array): RequestTrace {
  const hex = Buffer.from(bytes).toString('hex')
  return { traceId: hex.slice(0, TRACE_ID_BYTES * 2), spanId: hex.slice(TRACE_ID_BYTES * 2) }
}

/** The trace id of a `traceparent`, '00-<32 hex digits>-<16 hex digits>-<flags>', or of a trace id alone; undefined for anything else. */
export function parseTraceId (text: string): string | undefined {
  const id = /^(?:[0-9a-f]{2}-)?([0-9a-f]{32})(?:-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?)?$/.exec(text.trim().toLowerCase())?.[1]
  return id === undefined || /^0+$/.test(id) ? undefined : id
}
