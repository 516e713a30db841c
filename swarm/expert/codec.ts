import * as limits from '../constants.js'
import { SwarmError } from '../errors.js'
import type { ExpertBatch, WireDtype } from '../interface.js'
import { decodeTrace, encodeTrace, MAX_TRACE_LINKS, type RequestTrace, traceBytes } from '../trace-context.js'
import { wireCode, type WireErrorCode, wireNumber } from './error-codes.js'
import { allFinite, readRows, rowBytes, writeRows } from './rows.js'

/*
 * The hot frames of /moeswarm/experts/1. Each follows its length as an unsigned varint. Little-endian; offsets in bytes from the
 * start of the frame; T = tokens, N = assignments (a token and one of its experts), H = hidden size; rows as in rows.ts.
 *
 *   request   0 u8 kind = 1   1 u8 dtype   2 u16 layer   4 u32 id   8 u32 T   12 u32 N
 *             16 u16 counts[T], u16 experts[N], padding to a multiple of 4, f32 weights[N], rows [T, H]
 *             Token t owns the next counts[t] entries of experts and weights; the counts sum up to N. It names no expert
 *             twice, for the sum over its experts is computed with one weight each.
 *             With the highest bit of the dtype set, a trace id of 16 bytes and a span id of 8 follow, then trace ids of other texts that
 *             have a part in the request, up to the frame's end (only to peers whose welcome says so, and at most as many as it says).
 *   reply     0 u8 kind = 2   1 u8 dtype   2 u16 zero    4 u32 id   8 u32 T   12 u32 queue µs   16 u32 service µs
 *             20 rows [T, H]: per token the sum of weight * expert(hidden)
 *   error     0 u8 kind = 3   1 u8 code    2 u16 zero    4 u32 id   8 u32 retry after ms
 *   cancel    0 u8 kind = 4   1 u8 zero    2 u16 zero    4 u32 id
 *
 * This is the one place where bytes of hot frames become values. Every size is checked against the frame's real length
 * before memory is taken for it.
 */

const REQUEST = 1
const REPLY = 2
const ERROR = 3
const CANCEL = 4

const REQUEST_HEADER = 16
const REPLY_HEADER = 20
const ERROR_BYTES = 12
const CANCEL_BYTES = 8

/** Bit of a request's dtype: a trace follows the rows. */
const TRACED = 0x80

const DTYPES: readonly WireDtype[] = ['fp32', 'fp16', 'int8']

if (new Uint8Array(Uint16Array.of(1).buffer)[0] !== 1) {
  throw new Error('moeswarm needs a little-endian machine: tensors go to the wire as they lie in memory.')
}

/** Some tokens of a batch with those of their experts that one peer shall compute. */
export interface RequestPart {
  layer: number
  tokens: number
  /** [any, hidden size] */
  hidden: Float32Array
  /** [tokens], the rows of `hidden` that these tokens are. Absent: the first `tokens` rows. */
  rows?: Uint32Array
  counts: Uint16Array
  experts: Uint16Array
  weights: Float32Array
}

/** What a request must respect; `hiddenSize`, `experts` and `layers` are the model's. */
export interface RequestBounds {
  hiddenSize: number
  experts: number
  layers: number
  maxTokens: number
}

export type ClientFrame =
  | { kind: 'request', id: number, dtype: WireDtype, batch: ExpertBatch, trace?: RequestTrace }
  | { kind: 'cancel', id: number }

export type PeerFrame =
  | { kind: 'reply', id: number, dtype: WireDtype, tokens: number, queueMicros: number, serviceMicros: number, frame: Uint8Array }
  | { kind: 'error', id: number, code: WireErrorCode, retryAfterMs: number }

/** Bytes of a request without its length prefix. */
export function requestBytes (dtype: WireDtype, tokens: number, assignments: number, hiddenSize: number): number {
  return requestRowsAt(tokens, assignments) + rowBytes(dtype, tokens, hiddenSize)
}

/** Bytes of a reply without its length prefix. */
export function replyBytes (dtype: WireDtype, tokens: number, hiddenSize: number): number {
  return REPLY_HEADER + rowBytes(dtype, tokens, hiddenSize)
}

/** A request with its length prefix, in fresh memory: a stream may keep it. The part is trusted. */
export function encodeRequest (id: number, dtype: WireDtype, part: RequestPart, hiddenSize: number, trace?: RequestTrace): Uint8Array {
  const { tokens, counts, experts, weights } = part
  const bytes = requestBytes(dtype, tokens, experts.length, hiddenSize)
  const { framed, frame, view } = allocateFrame(bytes + (trace == null ? 0 : traceBytes(trace.links?.length ?? 0)))
  view.setUint8(0, REQUEST)
  view.setUint8(1, DTYPES.indexOf(dtype) | (trace == null ? 0 : TRACED))
  view.setUint16(2, part.layer, true)
  view.setUint32(4, id, true)
  view.setUint32(8, tokens, true)
  view.setUint32(12, experts.length, true)
  const small = new Uint16Array(frame.buffer, frame.byteOffset + REQUEST_HEADER, tokens + experts.length)
  small.set(counts)
  small.set(experts, tokens)
  const weightsAt = requestWeightsAt(tokens, experts.length)
  if ((small.length & 1) === 1) view.setUint16(weightsAt - 2, 0, true)
  new Float32Array(frame.buffer, frame.byteOffset + weightsAt, weights.length).set(weights)
  writeRows(dtype, part.hidden, part.rows, tokens, hiddenSize, frame, requestRowsAt(tokens, experts.length))
  if (trace != null) frame.set(encodeTrace(trace), bytes)
  return framed
}

/** A reply with its length prefix, in fresh memory. `sum` is [tokens, hiddenSize]. */
export function encodeReply (id: number, dtype: WireDtype, sum: Float32Array, hiddenSize: number, queueMicros: number, serviceMicros: number): Uint8Array {
  const tokens = sum.length / hiddenSize
  const { framed, frame, view } = allocateFrame(replyBytes(dtype, tokens, hiddenSize))
  view.setUint8(0, REPLY)
  view.setUint8(1, DTYPES.indexOf(dtype))
  view.setUint16(2, 0, true)
  view.setUint32(4, id, true)
  view.setUint32(8, tokens, true)
  view.setUint32(12, clampUint32(queueMicros), true)
  view.setUint32(16, clampUint32(serviceMicros), true)
  writeRows(dtype, sum, undefined, tokens, hiddenSize, frame, REPLY_HEADER)
  return framed
}

export function encodeError (id: number, code: WireErrorCode, retryAfterMs = 0): Uint8Array {
  const { framed, view } = allocateFrame(ERROR_BYTES)
  view.setUint8(0, ERROR)
  view.setUint8(1, wireNumber(code))
  view.setUint16(2, 0, true)
  view.setUint32(4, id, true)
  view.setUint32(8, clampUint32(retryAfterMs), true)
  return framed
}

export function encodeCancel (id: number): Uint8Array {
  const { framed, view } = allocateFrame(CANCEL_BYTES)
  view.setUint32(0, CANCEL, true)
  view.setUint32(4, id, true)
  return framed
}

/** The id in a frame, to answer what cannot be read further. Undefined when there is none. */
export function readFrameId (frame: Uint8Array): number | undefined {
  return frame.byteLength < CANCEL_BYTES ? undefined : viewOf(frame).getUint32(4, true)
}

/** Whether a frame claims to be a request: cheap, for admission before decoding. */
export function isRequest (frame: Uint8Array): boolean {
  return frame[0] === REQUEST
}

/** Reads a frame that a client sent. Throws SwarmError 'malformed' or 'too-large'. */
export function decodeClientFrame (frame: Uint8Array, bounds: RequestBounds): ClientFrame {
  if (frame.byteLength < CANCEL_BYTES) throw malformed('a frame shorter than a header')
  const view = viewOf(frame)
  const id = view.getUint32(4, true)
  switch (frame[0]) {
    case CANCEL:
      if (frame.byteLength !== CANCEL_BYTES) throw malformed('a cancel frame of another length')
      return { kind: 'cancel', id }
    case REQUEST:
      return decodeRequest(frame, view, id, bounds)
    default:
      throw malformed('a frame of unknown kind')
  }
}

function decodeRequest (frame: Uint8Array, view: DataView, id: number, bounds: RequestBounds): ClientFrame {
  if (frame.byteLength < REQUEST_HEADER) throw malformed('a request shorter than its header')
  const traced = (frame[1] & TRACED) !== 0
  const dtype = readDtype(frame[1] & ~TRACED)
  const layer = view.getUint16(2, true)
  const tokens = view.getUint32(8, true)
  const assignments = view.getUint32(12, true)
  if (layer >= bounds.layers) throw malformed('a layer outside of the model')
  if (tokens === 0) throw malformed('a request without tokens')
  if (tokens > bounds.maxTokens) throw new SwarmError('too-large', `A request has more than ${bounds.maxTokens} tokens.`, { limit: bounds.maxTokens })
  if (assignments > tokens * limits.MAX_EXPERTS_PER_TOKEN) throw malformed('more experts than its tokens can ask for')
  const bytes = requestBytes(dtype, tokens, assignments, bounds.hiddenSize)
  const behind = frame.byteLength - bytes
  if (traced ? !isTrace(behind) : behind !== 0) throw malformed('a request whose length does not fit its header')

  const counts = readUint16s(frame, REQUEST_HEADER, tokens)
  let sum = 0
  for (let t = 0; t < tokens; t++) {
    if (counts[t] > limits.MAX_EXPERTS_PER_TOKEN) throw malformed('a token with too many experts')
    sum += counts[t]
  }
  if (sum !== assignments) throw malformed('counts that do not sum up to the assignments')
  const experts = readUint16s(frame, REQUEST_HEADER + tokens * 2, assignments)
  for (let i = 0; i < assignments; i++) {
    if (experts[i] >= bounds.experts) throw malformed('an expert outside of the model')
  }
  if (namesTwice(counts, experts)) throw malformed('a token that names an expert twice')
  const weights = new Float32Array(assignments)
  const weightsAt = requestWeightsAt(tokens, assignments)
  new Uint8Array(weights.buffer).set(frame.subarray(weightsAt, weightsAt + assignments * 4))
  if (!allFinite(weights)) throw malformed('a weight that is not finite')
  const hidden = readRows(dtype, frame, requestRowsAt(tokens, assignments), tokens, bounds.hiddenSize)
  if (hidden == null) throw malformed('a hidden state that is not finite')
  return { kind: 'request', id, dtype, batch: { layer, tokens, hidden, counts, experts, weights }, ...(traced && { trace: decodeTrace(frame.subarray(bytes)) }) }
}

/** Whether a trace has so many bytes. */
function isTrace (bytes: number): boolean {
  const links = (bytes - traceBytes(0)) / (traceBytes(1) - traceBytes(0))
  return Number.isInteger(links) && links >= 0 && links <= MAX_TRACE_LINKS
}

/** Reads the head of a frame that a peer sent; the rows of a reply are read by `decodeReplyRows` once its id is known. Throws SwarmError 'malformed'. */
export function decodePeerFrame (frame: Uint8Array): PeerFrame {
  if (frame.byteLength < ERROR_BYTES) throw malformed('a frame shorter than a header')
  const view = viewOf(frame)
  const id = view.getUint32(4, true)
  switch (frame[0]) {
    case REPLY:
      if (frame.byteLength < REPLY_HEADER) throw malformed('a reply shorter than its header')
      return {
        kind: 'reply',
        id,
        dtype: readDtype(frame[1]),
        tokens: view.getUint32(8, true),
        queueMicros: view.getUint32(12, true),
        serviceMicros: view.getUint32(16, true),
        frame
      }
    case ERROR:
      if (frame.byteLength !== ERROR_BYTES) throw malformed('an error frame of another length')
      return { kind: 'error', id, code: wireCode(frame[1]), retryAfterMs: view.getUint32(8, true) }
    default:
      throw malformed('a frame of unknown kind')
  }
}

/** The rows [tokens, hiddenSize] of a reply to a request of `tokens` tokens in `dtype`. Throws SwarmError 'malformed' when it answers another. */
export function decodeReplyRows (reply: PeerFrame & { kind: 'reply' }, dtype: WireDtype, tokens: number, hiddenSize: number): Float32Array {
  if (reply.dtype !== dtype || reply.tokens !== tokens || reply.frame.byteLength !== replyBytes(dtype, tokens, hiddenSize)) {
    throw malformed('a reply that does not fit its request')
  }
  const rows = readRows(dtype, reply.frame, REPLY_HEADER, tokens, hiddenSize)
  if (rows == null) throw malformed('a sum that is not finite')
  return rows
}

/** By expert, the last token that named it, from 1 on: scratch of `namesTwice`, which ends before anybody else begins. */
const lastNamed = new Uint32Array(limits.MAX_EXPERTS + 1)

/** Whether a token names one of its experts twice. `counts` [tokens] sums up to the length of `experts`, which are below MAX_EXPERTS. */
export function namesTwice (counts: Uint16Array, experts: Uint16Array): boolean {
  for (let i = 0; i < experts.length; i++) lastNamed[experts[i]] = 0
  for (let t = 0, at = 0; t < counts.length; t++) {
    for (const end = at + counts[t]; at < end; at++) {
      if (lastNamed[experts[at]] === t + 1) return true
      lastNamed[experts[at]] = t + 1
    }
  }
  return false
}

function requestWeightsAt (tokens: number, assignments: number): number {
  return (REQUEST_HEADER + (tokens + assignments) * 2 + 3) & ~3
}

function requestRowsAt (tokens: number, assignments: number): number {
  return requestWeightsAt(tokens, assignments) + assignments * 4
}

/** The frame lies at a multiple of 4 in its buffer; its length prefix ends right before it, so both go out as one piece. */
function allocateFrame (bytes: number): { framed: Uint8Array, frame: Uint8Array, view: DataView } {
  const room = 8
  const memory = Buffer.allocUnsafeSlow(room + bytes)
  let prefix = 1
  for (let rest = bytes >>> 7; rest > 0; rest >>>= 7) prefix++
  let rest = bytes
  for (let at = room - prefix; at < room; at++) {
    memory[at] = at === room - 1 ? rest : (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  return {
    framed: new Uint8Array(memory.buffer, room - prefix, prefix + bytes),
    frame: new Uint8Array(memory.buffer, room, bytes),
    view: new DataView(memory.buffer, room, bytes)
  }
}

function viewOf (frame: Uint8Array): DataView {
  return new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
}

function readUint16s (frame: Uint8Array, at: number, count: number): Uint16Array {
  const values = new Uint16Array(count)
  new Uint8Array(values.buffer).set(frame.subarray(at, at + count * 2))
  return values
}

function readDtype (number: number): WireDtype {
  const dtype = DTYPES[number]
  if (dtype == null) throw malformed('an unknown dtype')
  return dtype
}

function clampUint32 (value: number): number {
  return value > 0 ? Math.min(Math.round(value), 0xffffffff) : 0
}

function malformed (reason: string): SwarmError<'malformed'> {
  return new SwarmError('malformed', `The other side sent ${reason}.`, { reason })
}
