import { randomBytes } from 'node:crypto'

/** Bytes of a W3C trace id and of a span id. */
const TRACE_ID_BYTES = 16
const SPAN_ID_BYTES = 8

/** Other texts that a request names to a peer at most: more than share one where nobody asks for hundreds at a time. */
export const MAX_TRACE_LINKS = 31

/** Of the longest trace on the wire. */
export const MAX_TRACE_BYTES = traceBytes(MAX_TRACE_LINKS)

/** Names a request so that a client's log and a peer's can be joined: W3C Trace Context, as OpenTelemetry has it. Hexadecimal. */
export interface RequestTrace {
  traceId: string
  /** Of this request; the caller's spans are above it. */
  spanId: string
  /** Traces of the other texts whose tokens it carries: what OpenTelemetry calls span links. */
  links?: readonly string[]
}

export function newTraceId (): string {
  return randomBytes(TRACE_ID_BYTES).toString('hex')
}

/** A new request of these texts; undefined where none is traced. */
export function newRequestTrace ([traceId, ...links]: readonly string[] = []): RequestTrace | undefined {
  return traceId == null ? undefined : { traceId, spanId: randomBytes(SPAN_ID_BYTES).toString('hex'), ...links.length > 0 && { links } }
}

/** Bytes of a trace on the wire: trace id, span id, the links. */
export function traceBytes (links: number): number {
  return TRACE_ID_BYTES + SPAN_ID_BYTES + links * TRACE_ID_BYTES
}

export function encodeTrace ({ traceId, spanId, links = [] }: RequestTrace): Buffer {
  return Buffer.from(traceId + spanId + links.join(''), 'hex')
}

/** @param bytes - as many as `traceBytes` says */
export function decodeTrace (bytes: Uint8Array): RequestTrace {
  const hex = Buffer.from(bytes).toString('hex')
  const [idDigits, ownDigits] = [TRACE_ID_BYTES * 2, traceBytes(0) * 2]
  const links: string[] = []
  for (let at = ownDigits; at < hex.length; at += idDigits) links.push(hex.slice(at, at + idDigits))
  return { traceId: hex.slice(0, idDigits), spanId: hex.slice(idDigits, ownDigits), ...links.length > 0 && { links } }
}

/** The trace id of a `traceparent`, '00-<32 hex digits>-<16 hex digits>-<flags>', or of a trace id alone; undefined for anything else. */
export function parseTraceId (text: string): string | undefined {
  const id = /^(?:[0-9a-f]{2}-)?([0-9a-f]{32})(?:-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?)?$/.exec(text.trim().toLowerCase())?.[1]
  return id === undefined || /^0+$/.test(id) ? undefined : id
}
