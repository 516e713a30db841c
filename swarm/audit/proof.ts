import { createHash } from 'node:crypto'
import type { WireDtype } from '../interface.js'
import { encodeRequest, type RequestPart } from '../expert/codec.js'

/** What a peer was caught with. It convinces who wrote it down, nobody else: replies are not signed. */
export interface Proof {
  peerId: string
  /** ISO 8601. */
  at: string
  modelId: string
  layer: number
  /** Ascending. */
  experts: number[]
  tokens: number
  wire: WireDtype
  /** Of the request's frame with id 0, and of the rows that the peer answered, as little-endian float32. */
  requestSha256: string
  replySha256: string
  /** Who answered the same request otherwise: a copy of the experts on this machine, or at least two peers that agree. */
  against: Array<{ peerId: string, replySha256: string }>
  /** Between its reply and theirs, and what honest ones may have; see `deviation`. */
  deviation: number
  tolerance: number
}

/** Whom `against` names when this machine computed the truth itself. */
export const THIS_MACHINE = 'this machine'

export function requestDigest (part: RequestPart, wire: WireDtype, hiddenSize: number): string {
  return createHash('sha256').update(encodeRequest(0, wire, part, hiddenSize)).digest('hex')
}

export function replyDigest (sum: Float32Array): string {
  return createHash('sha256').update(new Uint8Array(sum.buffer, sum.byteOffset, sum.byteLength)).digest('hex')
}
