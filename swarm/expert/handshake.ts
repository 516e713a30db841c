import * as lp from 'it-length-prefixed'
import * as limits from '../constants.js'
import { SwarmError } from '../errors.js'
import type { HostedBlock, WireDtype } from '../interface.js'
import { Hello as PbHello, HelloReply as PbHelloReply, Wire as PbWire } from '../pb/handshake.pb.js'
import { wireCode, wireNumber, type WireErrorCode } from './error-codes.js'
import { checkBlocks } from './hosted.js'

/** What a client tells a peer when it opens a stream. */
export interface Hello {
  /** 64 hex digits. */
  modelId: string
  hiddenSize: number
  experts: number
  wire: WireDtype
  /** Largest frame that the client takes. */
  maxFrameBytes: number
}

/** What a peer promises for the life of the stream. */
export interface Welcome {
  maxFrameBytes: number
  maxTokens: number
  maxInFlight: number
  /** Whether a request may have a trace behind it. */
  traces: boolean
  /** Other texts that the trace may name; 0 for peers of before there were any. */
  traceLinks: number
  blocks: HostedBlock[]
}

export interface Refusal {
  code: WireErrorCode
  retryAfterMs: number
}

const TO_PB: Record<WireDtype, PbWire> = { fp32: PbWire.FP32, fp16: PbWire.FP16, int8: PbWire.INT8 }
const FROM_PB: Record<PbWire, WireDtype> = { FP32: 'fp32', FP16: 'fp16', INT8: 'int8' }

/** With its length prefix. */
export function encodeHello (hello: Hello): Uint8Array {
  return lp.encode.single(PbHello.encode({
    modelId: Buffer.from(hello.modelId, 'hex'),
    hiddenSize: hello.hiddenSize,
    experts: hello.experts,
    wire: TO_PB[hello.wire],
    maxFrameBytes: hello.maxFrameBytes
  })).subarray()
}

/** Throws SwarmError 'malformed'. */
export function decodeHello (frame: Uint8Array): Hello {
  const hello = parse(frame, bytes => PbHello.decode(bytes))
  if (hello.modelId.byteLength !== limits.MODEL_ID_BYTES) throw malformed('a model id of another length')
  if (hello.hiddenSize < 1 || hello.hiddenSize > limits.MAX_HIDDEN_SIZE) throw malformed('a hidden size out of range')
  if (hello.experts < 1 || hello.experts > limits.MAX_EXPERTS) throw malformed('a number of experts out of range')
  if (hello.maxFrameBytes < limits.MIN_FRAME_BYTES) throw malformed('a frame limit below the smallest')
  return {
    modelId: Buffer.from(hello.modelId).toString('hex'),
    hiddenSize: hello.hiddenSize,
    experts: hello.experts,
    wire: FROM_PB[hello.wire],
    maxFrameBytes: hello.maxFrameBytes
  }
}

/** With its length prefix. */
export function encodeWelcome (welcome: Welcome): Uint8Array {
  return lp.encode.single(PbHelloReply.encode({ welcome })).subarray()
}

/** With its length prefix. */
export function encodeRefusal (refusal: Refusal): Uint8Array {
  return lp.encode.single(PbHelloReply.encode({ refusal: { code: wireNumber(refusal.code), retryAfterMs: refusal.retryAfterMs } })).subarray()
}

/** Throws SwarmError 'malformed'. */
export function decodeHelloReply (frame: Uint8Array, experts: number): Welcome | Refusal {
  const { welcome, refusal } = parse(frame, bytes => PbHelloReply.decode(bytes))
  if (refusal != null) return { code: wireCode(refusal.code), retryAfterMs: Math.min(refusal.retryAfterMs, limits.MAX_RETRY_AFTER_MS) }
  if (welcome == null) throw malformed('neither a welcome nor a refusal')
  if (welcome.maxFrameBytes < limits.MIN_FRAME_BYTES) throw malformed('a frame limit below the smallest')
  if (welcome.maxTokens < 1 || welcome.maxInFlight < 1) throw malformed('a limit of zero')
  checkBlocks(welcome.blocks, experts, limits.MAX_LAYERS)
  return welcome
}

function parse<T> (frame: Uint8Array, decode: (bytes: Uint8Array) => T): T {
  if (frame.byteLength > limits.HANDSHAKE_MAX_BYTES) throw malformed('a handshake that is too long')
  try {
    return decode(frame)
  } catch (error) {
    throw malformed('a handshake that is no protobuf', error)
  }
}

function malformed (reason: string, cause?: unknown): SwarmError<'malformed'> {
  return new SwarmError('malformed', `The other side sent ${reason}.`, { reason }, { cause })
}
