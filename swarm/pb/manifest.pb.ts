// @ts-nocheck
import { decodeMessage, encodeMessage, MaxLengthError, message, streamMessage } from 'protons-runtime'
import { alloc as uint8ArrayAlloc } from 'uint8arrays/alloc'
import type { Codec, DecodeOptions } from 'protons-runtime'
import type { Uint8ArrayList } from 'uint8arraylist'

export interface PeerManifest {
  modelId: Uint8Array<ArrayBuffer>
  blocks: ManifestBlock[]
  wires: number
  version: string
  capacity: number
  load: number
  sequence: bigint
  issuedAtMs: bigint
  ttlMs: number
  intended: ManifestBlock[]
  fetching: ManifestBlock[]
}

export namespace PeerManifest {
  let _codec: Codec<PeerManifest>

  export const codec = (): Codec<PeerManifest> => {
    if (_codec == null) {
      _codec = message<PeerManifest>((obj, w, opts = {}) => {
        if (opts.lengthDelimited !== false) {
          w.fork()
        }

        if ((obj.modelId != null && obj.modelId.byteLength > 0)) {
          w.uint32(10)
          w.bytes(obj.modelId)
        }

        if (obj.blocks != null && obj.blocks.length > 0) {
          for (const value of obj.blocks) {
            w.uint32(18)
            ManifestBlock.codec().encode(value, w)
          }
        }

        if ((obj.wires != null && obj.wires !== 0)) {
          w.uint32(24)
          w.uint32(obj.wires)
        }

        if ((obj.version != null && obj.version !== '')) {
          w.uint32(34)
          w.string(obj.version)
        }

        if ((obj.capacity != null && obj.capacity !== 0)) {
          w.uint32(40)
          w.uint32(obj.capacity)
        }

        if ((obj.load != null && obj.load !== 0)) {
          w.uint32(48)
          w.uint32(obj.load)
        }

        if ((obj.sequence != null && obj.sequence !== 0n)) {
          w.uint32(56)
          w.uint64(obj.sequence)
        }

        if ((obj.issuedAtMs != null && obj.issuedAtMs !== 0n)) {
          w.uint32(64)
          w.uint64(obj.issuedAtMs)
        }

        if ((obj.ttlMs != null && obj.ttlMs !== 0)) {
          w.uint32(72)
          w.uint32(obj.ttlMs)
        }

        if (obj.intended != null && obj.intended.length > 0) {
          for (const value of obj.intended) {
            w.uint32(82)
            ManifestBlock.codec().encode(value, w)
          }
        }

        if (obj.fetching != null && obj.fetching.length > 0) {
          for (const value of obj.fetching) {
            w.uint32(90)
            ManifestBlock.codec().encode(value, w)
          }
        }

        if (opts.lengthDelimited !== false) {
          w.ldelim()
        }
      }, (reader, length, opts = {}) => {
        const obj: any = {
          modelId: uint8ArrayAlloc(0),
          blocks: [],
          wires: 0,
          version: '',
          capacity: 0,
          load: 0,
          sequence: 0n,
          issuedAtMs: 0n,
          ttlMs: 0,
          intended: [],
          fetching: []
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
              if (opts.limits?.blocks != null && obj.blocks.length === opts.limits.blocks) {
                throw new MaxLengthError('Decode error - repeated field "blocks" had too many elements')
              }

              obj.blocks.push(ManifestBlock.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.blocks$
              }))
              break
            }
            case 3: {
              obj.wires = reader.uint32()
              break
            }
            case 4: {
              obj.version = reader.string()
              break
            }
            case 5: {
              obj.capacity = reader.uint32()
              break
            }
            case 6: {
              obj.load = reader.uint32()
              break
            }
            case 7: {
              obj.sequence = reader.uint64()
              break
            }
            case 8: {
              obj.issuedAtMs = reader.uint64()
              break
            }
            case 9: {
              obj.ttlMs = reader.uint32()
              break
            }
            case 10: {
              if (opts.limits?.intended != null && obj.intended.length === opts.limits.intended) {
                throw new MaxLengthError('Decode error - repeated field "intended" had too many elements')
              }

              obj.intended.push(ManifestBlock.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.intended$
              }))
              break
            }
            case 11: {
              if (opts.limits?.fetching != null && obj.fetching.length === opts.limits.fetching) {
                throw new MaxLengthError('Decode error - repeated field "fetching" had too many elements')
              }

              obj.fetching.push(ManifestBlock.codec().decode(reader, reader.uint32(), {
                limits: opts.limits?.fetching$
              }))
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
          blocks: 0,
          intended: 0,
          fetching: 0
        }

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
              if (opts.limits?.blocks != null && obj.blocks === opts.limits.blocks) {
                throw new MaxLengthError('Streaming decode error - repeated field "blocks" had too many elements')
              }

              for (const evt of ManifestBlock.codec().stream(reader, reader.uint32(), `${prefix}.blocks[]`, {
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
            case 3: {
              yield {
                field: `${prefix}.wires`,
                value: reader.uint32()
              }
              break
            }
            case 4: {
              yield {
                field: `${prefix}.version`,
                value: reader.string()
              }
              break
            }
            case 5: {
              yield {
                field: `${prefix}.capacity`,
                value: reader.uint32()
              }
              break
            }
            case 6: {
              yield {
                field: `${prefix}.load`,
                value: reader.uint32()
              }
              break
            }
            case 7: {
              yield {
                field: `${prefix}.sequence`,
                value: reader.uint64()
              }
              break
            }
            case 8: {
              yield {
                field: `${prefix}.issuedAtMs`,
                value: reader.uint64()
              }
              break
            }
            case 9: {
              yield {
                field: `${prefix}.ttlMs`,
                value: reader.uint32()
              }
              break
            }
            case 10: {
              if (opts.limits?.intended != null && obj.intended === opts.limits.intended) {
                throw new MaxLengthError('Streaming decode error - repeated field "intended" had too many elements')
              }

              for (const evt of ManifestBlock.codec().stream(reader, reader.uint32(), `${prefix}.intended[]`, {
                limits: opts.limits?.intended$
              })) {
                yield {
                  ...evt,
                  index: obj.intended
                }
              }

              obj.intended++

              break
            }
            case 11: {
              if (opts.limits?.fetching != null && obj.fetching === opts.limits.fetching) {
                throw new MaxLengthError('Streaming decode error - repeated field "fetching" had too many elements')
              }

              for (const evt of ManifestBlock.codec().stream(reader, reader.uint32(), `${prefix}.fetching[]`, {
                limits: opts.limits?.fetching$
              })) {
                yield {
                  ...evt,
                  index: obj.fetching
                }
              }

              obj.fetching++

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

  export interface PeerManifestModelIdFieldEvent {
    field: '$.modelId'
    value: Uint8Array<ArrayBuffer>
  }

  export interface PeerManifestBlocksLayerFieldEvent {
    field: '$.blocks[].layer'
    value: number
    index: number
  }

  export interface PeerManifestBlocksFirstExpertFieldEvent {
    field: '$.blocks[].firstExpert'
    value: number
    index: number
  }

  export interface PeerManifestBlocksExpertsFieldEvent {
    field: '$.blocks[].experts'
    value: number
    index: number
  }

  export interface PeerManifestWiresFieldEvent {
    field: '$.wires'
    value: number
  }

  export interface PeerManifestVersionFieldEvent {
    field: '$.version'
    value: string
  }

  export interface PeerManifestCapacityFieldEvent {
    field: '$.capacity'
    value: number
  }

  export interface PeerManifestLoadFieldEvent {
    field: '$.load'
    value: number
  }

  export interface PeerManifestSequenceFieldEvent {
    field: '$.sequence'
    value: bigint
  }

  export interface PeerManifestIssuedAtMsFieldEvent {
    field: '$.issuedAtMs'
    value: bigint
  }

  export interface PeerManifestTtlMsFieldEvent {
    field: '$.ttlMs'
    value: number
  }

  export interface PeerManifestIntendedLayerFieldEvent {
    field: '$.intended[].layer'
    value: number
    index: number
  }

  export interface PeerManifestIntendedFirstExpertFieldEvent {
    field: '$.intended[].firstExpert'
    value: number
    index: number
  }

  export interface PeerManifestIntendedExpertsFieldEvent {
    field: '$.intended[].experts'
    value: number
    index: number
  }

  export interface PeerManifestFetchingLayerFieldEvent {
    field: '$.fetching[].layer'
    value: number
    index: number
  }

  export interface PeerManifestFetchingFirstExpertFieldEvent {
    field: '$.fetching[].firstExpert'
    value: number
    index: number
  }

  export interface PeerManifestFetchingExpertsFieldEvent {
    field: '$.fetching[].experts'
    value: number
    index: number
  }

  export function encode (obj: Partial<PeerManifest>): Uint8Array<ArrayBuffer> {
    return encodeMessage(obj, PeerManifest.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<PeerManifest>): PeerManifest {
    return decodeMessage(buf, PeerManifest.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<PeerManifest>): Generator<PeerManifestModelIdFieldEvent | PeerManifestBlocksLayerFieldEvent | PeerManifestBlocksFirstExpertFieldEvent | PeerManifestBlocksExpertsFieldEvent | PeerManifestWiresFieldEvent | PeerManifestVersionFieldEvent | PeerManifestCapacityFieldEvent | PeerManifestLoadFieldEvent | PeerManifestSequenceFieldEvent | PeerManifestIssuedAtMsFieldEvent | PeerManifestTtlMsFieldEvent | PeerManifestIntendedLayerFieldEvent | PeerManifestIntendedFirstExpertFieldEvent | PeerManifestIntendedExpertsFieldEvent | PeerManifestFetchingLayerFieldEvent | PeerManifestFetchingFirstExpertFieldEvent | PeerManifestFetchingExpertsFieldEvent> {
    return streamMessage(buf, PeerManifest.codec(), opts)
  }
}

export interface ManifestBlock {
  layer: number
  firstExpert: number
  experts: number
}

export namespace ManifestBlock {
  let _codec: Codec<ManifestBlock>

  export const codec = (): Codec<ManifestBlock> => {
    if (_codec == null) {
      _codec = message<ManifestBlock>((obj, w, opts = {}) => {
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

  export interface ManifestBlockLayerFieldEvent {
    field: '$.layer'
    value: number
  }

  export interface ManifestBlockFirstExpertFieldEvent {
    field: '$.firstExpert'
    value: number
  }

  export interface ManifestBlockExpertsFieldEvent {
    field: '$.experts'
    value: number
  }

  export function encode (obj: Partial<ManifestBlock>): Uint8Array<ArrayBuffer> {
    return encodeMessage(obj, ManifestBlock.codec())
  }

  export function decode (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<ManifestBlock>): ManifestBlock {
    return decodeMessage(buf, ManifestBlock.codec(), opts)
  }

  export function stream (buf: Uint8Array | Uint8ArrayList, opts?: DecodeOptions<ManifestBlock>): Generator<ManifestBlockLayerFieldEvent | ManifestBlockFirstExpertFieldEvent | ManifestBlockExpertsFieldEvent> {
    return streamMessage(buf, ManifestBlock.codec(), opts)
  }
}
