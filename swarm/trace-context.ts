import { randomBytes } from 'node:crypto'

/** Bytes of a W3C trace id. */
const TRACE_ID_BYTES = 16

/** Bytes that a stream's span ids begin with; the request id follows. */
const SPAN_PREFIX_BYTES = 4

/** On the wire: trace id, then the prefix. */
export const TRACE_BYTES = TRACE_ID_BYTES + SPAN_PREFIX_BYTES

/** Names the requests of one stream so that a client's log and a peer's can be joined: W3C Trace Context, as OpenTelemetry has it. Hexadecimal. */
export interface StreamTrace {
  traceId: string
  spanPrefix: string
}

export function newStreamTrace (traceId: string): StreamTrace {
  return { traceId, spanPrefix: randomBytes(SPAN_PREFIX_BYTES).toString('hex') }
}

export function spanId ({ spanPrefix }: StreamTrace, requestId: number): string {
  return spanPrefix + requestId.toString(16).padStart(8, '0')
}

export function traceBytes ({ traceId, spanPrefix }: StreamTrace): Uint8Array<ArrayBuffer> {
  return Buffer.from(traceId + spanPrefix, 'hex')
}

/** @param bytes - TRACE_BYTES of them */
export function traceOf (bytes: Uint8Array): StreamTrace {
  const hex = Buffer.from(bytes).toString('hex')
  return { traceId: hex.slice(0, TRACE_ID_BYTES * 2), spanPrefix: hex.slice(TRACE_ID_BYTES * 2) }
}

/** The trace id of a `traceparent`, '00-<32 hex digits>-<16 hex digits>-<flags>', or of a trace id alone; undefined for anything else. */
export function parseTraceId (text: string): string | undefined {
  const id = /^(?:[0-9a-f]{2}-)?([0-9a-f]{32})(?:-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?)?$/.exec(text.trim().toLowerCase())?.[1]
  return id === undefined || /^0+$/.test(id) ? undefined : id
}
