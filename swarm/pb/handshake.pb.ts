// @ts-nocheck
import { decodeMessage, encodeMessage, enumeration, MaxLengthError, message, streamMessage } from 'protons-runtime'
import { alloc as uint8ArrayAlloc } from 'uint8arrays/alloc'
import type { Codec, DecodeOptions } from 'protons-runtime'
import type { Uint8ArrayList } from 'uint8arraylist'

export interface Hello {
  modelId: Uint8Array<ArrayBuffer>
  hiddenSize: number
  experts: number
  wire: Wire
  maxFrameBytes: number
}

export namespace Hello {
  let _codec: Codec<Hello>

  export const codec = (): Codec<Hello> => {
    if (_codec == null) {
      _codec = message<Hello>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.modelId != null && obj.modelId.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.modelId)
        }

        if ((obj.hiddenSize != null && obj.hiddenSize !== 0)) {
          w.uint32(16)
          w.uint32(obj.hiddenSize)
        }

        if ((obj.experts != null && obj.experts !== 0)) {
          w.uint32(24)
          w.uint32(obj.experts)
        }

        if (obj.wire != null && __WireValues[obj.wire] !== 0) {
          w.uint32(32)
          Wire.codec().encode(obj.wire, w)
        }

        if ((obj.maxFrameBytes != null && obj.maxFrameBytes !== 0)) {
          w.uint32(40)
          w.uint32(obj.maxFrameBytes)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          modelId: uint8ArrayAlloc(0),
          hiddenSize: 0,
          experts: 0,
          wire: Wire.FP32,
          maxFrameBytes: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.modelId = reader.bytes()
              break
            }
            case 2: {
              obj.hiddenSize = reader.uint32()
              break
            }
            case 3: {
              obj.experts = reader.uint32()
              break
            }
            case 4: {
              obj.wire = Wire.codec().decode(reader)
              break
            }
            case 5: {
              obj.maxFrameBytes = reader.uint32()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.modelId`,
                value: reader.bytes()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.hiddenSize`,
                value: reader.uint32()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.experts`,
                value: reader.uint32()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.wire`,
                value: Wire.codec().decode(reader)
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.maxFrameBytes`,
                value: reader.uint32()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface HelloModelIdFieldEvent {
    field: '$.modelId'
    value: Uint8Array<ArrayBuffer>
  }

  export interface HelloHiddenSizeFieldEvent {
    field: '$.hiddenSize'
    value: number
  }

  export interface HelloExpertsFieldEvent {
    field: '$.experts'
    value: number
  }

  export interface HelloWireFieldEvent {
    field: '$.wire'
    value: Wire
  }

  export interface HelloMaxFrameBytesFieldEvent {
    field: '$.maxFrameBytes'
    value: number
  }

  export function encode (obj: Partial<Hello>): Uint8Array<ArrayBuffer> {
    return encodeMessage(obj, Hello.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Hello>): Hello {
    return decodeMessage(buf, Hello.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Hello>): Generator<HelloModelIdFieldEvent | HelloHiddenSizeFieldEvent | HelloExpertsFieldEvent | HelloWireFieldEvent | HelloMaxFrameBytesFieldEvent> {
    return streamMessage(buf, Hello.codec(), opts)
  }
}

export interface HelloReply {
  welcome?: Welcome
  refusal?: Refusal
}

export namespace HelloReply {
  let _codec: Codec<HelloReply>

  export const codec = (): Codec<HelloReply> => {
    if (_codec == null) {
      _codec = message<HelloReply>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        obj = { ...obj }

        if (obj.refusal != null) {
          obj.welcome = undefined
        }

        if (obj.welcome != null) {
          obj.refusal = undefined
        }

        if (obj.welcome != null) {
          w.uint32(10)
          Welcome.codec().encode(obj.welcome, w)
        }

        if (obj.refusal != null) {
          w.uint32(18)
          Refusal.codec().encode(obj.refusal, w)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {}

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.welcome = Welcome.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.welcome
              })
              break
            }
            case 2: {
              obj.refusal = Refusal.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.refusal
              })
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        if (obj.refusal != null) {
          delete obj.welcome
        }

        if (obj.welcome != null) {
          delete obj.refusal
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield * Welcome.codec().stream(reader, reader.uint32(), `${prefix}.welcome`, {
                limits: opts.limits?.welcome
              })

              break
            }
            case 2: {
              yield * Refusal.codec().stream(reader, reader.uint32(), `${prefix}.refusal`, {
                limits: opts.limits?.refusal
              })

              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface HelloReplyWelcomeMaxFrameBytesFieldEvent {
    field: '$.welcome.maxFrameBytes'
    value: number
  }

  export interface HelloReplyWelcomeMaxTokensFieldEvent {
    field: '$.welcome.maxTokens'
    value: number
  }

  export interface HelloReplyWelcomeMaxInFlightFieldEvent {
    field: '$.welcome.maxInFlight'
    value: number
  }

  export interface HelloReplyWelcomeBlocksLayerFieldEvent {
    field: '$.welcome.blocks[].layer'
    value: number
    index: number
  }

  export interface HelloReplyWelcomeBlocksFirstExpertFieldEvent {
    field: '$.welcome.blocks[].firstExpert'
    value: number
    index: number
  }

  export interface HelloReplyWelcomeBlocksExpertsFieldEvent {
    field: '$.welcome.blocks[].experts'
    value: number
    index: number
  }

  export interface HelloReplyWelcomeTracesFieldEvent {
    field: '$.welcome.traces'
    value: boolean
  }

  export interface HelloReplyWelcomeTraceLinksFieldEvent {
    field: '$.welcome.traceLinks'
    value: number
  }

  export interface HelloReplyRefusalCodeFieldEvent {
    field: '$.refusal.code'
    value: number
  }

  export interface HelloReplyRefusalRetryAfterMsFieldEvent {
    field: '$.refusal.retryAfterMs'
    value: number
  }

  export function encode (obj: Partial<HelloReply>): Uint8Array<ArrayBuffer> {
    return encodeMessage(obj, HelloReply.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<HelloReply>): HelloReply {
    return decodeMessage(buf, HelloReply.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<HelloReply>): Generator<HelloReplyWelcomeMaxFrameBytesFieldEvent | HelloReplyWelcomeMaxTokensFieldEvent | HelloReplyWelcomeMaxInFlightFieldEvent | HelloReplyWelcomeBlocksLayerFieldEvent | HelloReplyWelcomeBlocksFirstExpertFieldEvent | HelloReplyWelcomeBlocksExpertsFieldEvent | HelloReplyWelcomeTracesFieldEvent | HelloReplyWelcomeTraceLinksFieldEvent | HelloReplyRefusalCodeFieldEvent | HelloReplyRefusalRetryAfterMsFieldEvent> {
    return streamMessage(buf, HelloReply.codec(), opts)
  }
}

export interface Welcome {
  maxFrameBytes: number
  maxTokens: number
  maxInFlight: number
  blocks: WelcomeBlock[]
  traces: boolean
  traceLinks: number
}

export namespace Welcome {
  let _codec: Codec<Welcome>

  export const codec = (): Codec<Welcome> => {
    if (_codec == null) {
      _codec = message<Welcome>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.maxFrameBytes != null && obj.maxFrameBytes !== 0)) {
          w.uint32(8)
          w.uint32(obj.maxFrameBytes)
        }

        if ((obj.maxTokens != null && obj.maxTokens !== 0)) {
          w.uint32(16)
          w.uint32(obj.maxTokens)
        }

        if ((obj.maxInFlight != null && obj.maxInFlight !== 0)) {
          w.uint32(24)
          w.uint32(obj.maxInFlight)
        }

        if (obj.blocks != null && obj.blocks.length > 0) {
          for (const value of obj.blocks) {
            w.uint32(34)
            WelcomeBlock.codec().encode(value, w)
          }
        }

        if ((obj.traces != null && obj.traces !== false)) {
          w.uint32(40)
          w.bool(obj.traces)
        }

        if ((obj.traceLinks != null && obj.traceLinks !== 0)) {
          w.uint32(48)
          w.uint32(obj.traceLinks)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          maxFrameBytes: 0,
          maxTokens: 0,
          maxInFlight: 0,
          blocks: [],
          traces: false,
          traceLinks: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.maxFrameBytes = reader.uint32()
              break
            }
            case 2: {
              obj.maxTokens = reader.uint32()
              break
            }
            case 3: {
              obj.maxInFlight = reader.uint32()
              break
            }
            case 4: {
              if (opts.limits?.blocks != null && obj.blocks.length === opts.limits.blocks) {
                throw new MaxLengthError('Decode error - repeated field "blocks" had too many elements')
              }

              obj.blocks.push(WelcomeBlock.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.blocks$
              }))
              break
            }
            case 5: {
              obj.traces = reader.bool()
              break
            }
            case 6: {
              obj.traceLinks = reader.uint32()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const obj = {
          blocks: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.maxFrameBytes`,
                value: reader.uint32()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.maxTokens`,
                value: reader.uint32()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.maxInFlight`,
                value: reader.uint32()
              }
              break
            }
            case 4: {
              if (opts.limits?.blocks != null && obj.blocks === opts.limits.blocks) {
                throw new MaxLengthError('Streaming decode error - repeated field "blocks" had too many elements')
              }

              for (const evt of WelcomeBlock.codec().stream(reader, reader.uint32(), `${prefix}.blocks[]`, {
                limits: opts.limits?.blocks$
              })) {
                yield {
                  ...evt,
                  index: obj.blocks
                }
              }

              obj.blocks++

              break
            }
            case 5: {
              yield {
                field: `${prefix}.traces`,
                value: reader.bool()
              }
              break
            }
            case 6: {
              yield {
                field: `${prefix}.traceLinks`,
                value: reader.uint32()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface WelcomeMaxFrameBytesFieldEvent {
    field: '$.maxFrameBytes'
    value: number
  }

  export interface WelcomeMaxTokensFieldEvent {
    field: '$.maxTokens'
    value: number
  }

  export interface WelcomeMaxInFlightFieldEvent {
    field: '$.maxInFlight'
    value: number
  }

  export interface WelcomeBlocksLayerFieldEvent {
    field: '$.blocks[].layer'
    value: number
    index: number
  }

  export interface WelcomeBlocksFirstExpertFieldEvent {
    field: '$.blocks[].firstExpert'
    value: number
    index: number
  }

  export interface WelcomeBlocksExpertsFieldEvent {
    field: '$.blocks[].experts'
    value: number
    index: number
  }

  export interface WelcomeTracesFieldEvent {
    field: '$.traces'
    value: boolean
  }

  export interface WelcomeTraceLinksFieldEvent {
    field: '$.traceLinks'
    value: number
  }

  export function encode (obj: Partial<Welcome>): Uint8Array<ArrayBuffer> {
    return encodeMessage(obj, Welcome.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Welcome>): Welcome {
    return decodeMessage(buf, Welcome.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Welcome>): Generator<WelcomeMaxFrameBytesFieldEvent | WelcomeMaxTokensFieldEvent | WelcomeMaxInFlightFieldEvent | WelcomeBlocksLayerFieldEvent | WelcomeBlocksFirstExpertFieldEvent | WelcomeBlocksExpertsFieldEvent | WelcomeTracesFieldEvent | WelcomeTraceLinksFieldEvent> {
    return streamMessage(buf, Welcome.codec(), opts)
  }
}

export interface WelcomeBlock {
  layer: number
  firstExpert: number
  experts: number
}

export namespace WelcomeBlock {
  let _codec: Codec<WelcomeBlock>

  export const codec = (): Codec<WelcomeBlock> => {
    if (_codec == null) {
      _codec = message<WelcomeBlock>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.layer != null && obj.layer !== 0)) {
          w.uint32(8)
          w.uint32(obj.layer)
        }

        if ((obj.firstExpert != null && obj.firstExpert !== 0)) {
          w.uint32(16)
          w.uint32(obj.firstExpert)
        }

        if ((obj.experts != null && obj.experts !== 0)) {
          w.uint32(24)
          w.uint32(obj.experts)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          layer: 0,
          firstExpert: 0,
          experts: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.layer = reader.uint32()
              break
            }
            case 2: {
              obj.firstExpert = reader.uint32()
              break
            }
            case 3: {
              obj.experts = reader.uint32()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.layer`,
                value: reader.uint32()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.firstExpert`,
                value: reader.uint32()
              }
              break
            }
            case 3: {
              yield {
                field: `${prefix}.experts`,
                value: reader.uint32()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface WelcomeBlockLayerFieldEvent {
    field: '$.layer'
    value: number
  }

  export interface WelcomeBlockFirstExpertFieldEvent {
    field: '$.firstExpert'
    value: number
  }

  export interface WelcomeBlockExpertsFieldEvent {
    field: '$.experts'
    value: number
  }

  export function encode (obj: Partial<WelcomeBlock>): Uint8Array<ArrayBuffer> {
    return encodeMessage(obj, WelcomeBlock.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<WelcomeBlock>): WelcomeBlock {
    return decodeMessage(buf, WelcomeBlock.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<WelcomeBlock>): Generator<WelcomeBlockLayerFieldEvent | WelcomeBlockFirstExpertFieldEvent | WelcomeBlockExpertsFieldEvent> {
    return streamMessage(buf, WelcomeBlock.codec(), opts)
  }
}

export interface Refusal {
  code: number
  retryAfterMs: number
}

export namespace Refusal {
  let _codec: Codec<Refusal>

  export const codec = (): Codec<Refusal> => {
    if (_codec == null) {
      _codec = message<Refusal>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.code != null && obj.code !== 0)) {
          w.uint32(8)
          w.uint32(obj.code)
        }

        if ((obj.retryAfterMs != null && obj.retryAfterMs !== 0)) {
          w.uint32(16)
          w.uint32(obj.retryAfterMs)
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          code: 0,
          retryAfterMs: 0
        }

        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              obj.code = reader.uint32()
              break
            }
            case 2: {
              obj.retryAfterMs = reader.uint32()
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }

        return obj
      }, function * (reader, length, prefix, opts = {}) {
        const end = length == null ? reader.len : reader.pos + length

        while (reader.pos < end) {
          const tag = reader.uint32()

          switch (tag >>> 3) {
            case 1: {
              yield {
                field: `${prefix}.code`,
                value: reader.uint32()
              }
              break
            }
            case 2: {
              yield {
                field: `${prefix}.retryAfterMs`,
                value: reader.uint32()
              }
              break
            }
            default: {
              reader.skipType(tag & 7)
              break
            }
          }
        }
      })
    }

    return _codec
  }

  export interface RefusalCodeFieldEvent {
    field: '$.code'
    value: number
  }

  export interface RefusalRetryAfterMsFieldEvent {
    field: '$.retryAfterMs'
    value: number
  }

  export function encode (obj: Partial<Refusal>): Uint8Array<ArrayBuffer> {
    return encodeMessage(obj, Refusal.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Refusal>): Refusal {
    return decodeMessage(buf, Refusal.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<Refusal>): Generator<RefusalCodeFieldEvent | RefusalRetryAfterMsFieldEvent> {
    return streamMessage(buf, Refusal.codec(), opts)
  }
}

export enum Wire {
  FP32 = 'FP32',
  FP16 = 'FP16',
  INT8 = 'INT8'
}

enum __WireValues {
  FP32 = 0,
  FP16 = 1,
  INT8 = 2
}

export namespace Wire {
  export const codec = (): Codec<Wire> => {
    return enumeration<Wire>(__WireValues)
  }
}
