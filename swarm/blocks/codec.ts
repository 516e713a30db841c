import * as limits from '../constants.js'
import { SwarmError } from '../errors.js'
import { wireCode, wireNumber, type WireErrorCode } from '../expert/error-codes.js'

/*
 * The frames of /moeswarm/blocks/1. Each follows its length as an unsigned varint. Little-endian; offsets in bytes from the start of
 * the frame. Contents are asked for by their sha256; the manifest of a bundle is the content whose digest is the model id, so there
 * is no handshake.
 *
 *   sizes     0 u8 kind = 1   4 u32 id   8 digests[n], 32 bytes each: which of these are there?
 *   read      0 u8 kind = 2   4 u32 id   8 u64 offset   16 u32 length   20 digest
 *   ack       0 u8 kind = 3   4 u32 bytes of contents that have arrived since the last one
 *   cancel    0 u8 kind = 4   4 u32 id
 *   sizes are 0 u8 kind = 5   4 u32 id   8 u64 bytes[n], 2^64 - 1 for what is not there
 *   contents  0 u8 kind = 6   4 u32 id   8 at most BLOCKS_FRAME_BYTES of a read, in order
 *   error     0 u8 kind = 7   1 u8 code  4 u32 id       8 u32 retry after ms
 *   cancelled 0 u8 kind = 8   4 u32 id   nothing more comes of this read
 *
 * Bytes not named are zero. At most BLOCKS_MAX_CREDIT_BYTES of contents are on their way unacknowledged. An error of id 0 is about the stream.
 * This is the one place where bytes of these frames become values.
 */

const SIZES = 1
const READ = 2
const ACK = 3
const CANCEL = 4
const SIZES_REPLY = 5
const CONTENTS = 6
const ERROR = 7
const CANCELLED = 8

const HEADER = 8
const DIGEST_BYTES = 32
const SIZE_BYTES = 8
const READ_BYTES = 20 + DIGEST_BYTES
const ERROR_BYTES = 12
const ABSENT = 2n ** 64n - 1n

export type FetcherFrame =
  | { kind: 'sizes', id: number, digests: string[] }
  | { kind: 'read', id: number, sha256: string, offset: number, length: number }
  | { kind: 'ack', bytes: number }
  | { kind: 'cancel', id: number }

export type ServerFrame =
  | { kind: 'sizes', id: number, sizes: Array<number | undefined> }
  | { kind: 'contents', id: number, bytes: Uint8Array }
  | { kind: 'error', id: number, code: WireErrorCode, retryAfterMs: number }
  | { kind: 'cancelled', id: number }

/** All encoders return the frame with its length prefix, in fresh memory. */
export function encodeSizes (id: number, digests: readonly string[]): Uint8Array {
  const { framed, at } = allocate(SIZES, id, HEADER + digests.length * DIGEST_BYTES)
  digests.forEach((digest, i) => { framed.write(digest, at + HEADER + i * DIGEST_BYTES, 'hex') })
  return framed
}

export function encodeRead (id: number, sha256: string, offset: number, length: number): Uint8Array {
  const { framed, at } = allocate(READ, id, READ_BYTES)
  framed.writeBigUInt64LE(BigInt(offset), at + 8)
  framed.writeUInt32LE(length, at + 16)
  framed.write(sha256, at + 20, 'hex')
  return framed
}

export function encodeAck (bytes: number): Uint8Array {
  return allocate(ACK, bytes, HEADER).framed
}

export function encodeCancel (id: number): Uint8Array {
  return allocate(CANCEL, id, HEADER).framed
}

export function encodeSizesReply (id: number, sizes: ReadonlyArray<number | undefined>): Uint8Array {
  const { framed, at } = allocate(SIZES_REPLY, id, HEADER + sizes.length * SIZE_BYTES)
  sizes.forEach((size, i) => { framed.writeBigUInt64LE(size == null ? ABSENT : BigInt(size), at + HEADER + i * SIZE_BYTES) })
  return framed
}

export function encodeContents (id: number, bytes: Uint8Array): Uint8Array {
  const { framed, at } = allocate(CONTENTS, id, HEADER + bytes.byteLength)
  framed.set(bytes, at + HEADER)
  return framed
}

export function encodeBlocksError (id: number, code: WireErrorCode, retryAfterMs = 0): Uint8Array {
  const { framed, at } = allocate(ERROR, id, ERROR_BYTES)
  framed[at + 1] = wireNumber(code)
  framed.writeUInt32LE(retryAfterMs, at + 8)
  return framed
}

export function encodeCancelled (id: number): Uint8Array {
  return allocate(CANCELLED, id, HEADER).framed
}

/** Reads a frame of a fetcher. Throws SwarmError 'malformed'. */
export function decodeFetcherFrame (frame: Uint8Array): FetcherFrame {
  const { view, id } = open(frame)
  switch (view[0]) {
    case SIZES: {
      const count = itemsOf(view, DIGEST_BYTES)
      return { kind: 'sizes', id, digests: Array.from({ length: count }, (_, i) => digestAt(view, HEADER + i * DIGEST_BYTES)) }
    }
    case READ: {
      exactly(view, READ_BYTES)
      const offset = integerOf(view.readBigUInt64LE(8))
      const length = view.readUInt32LE(16)
      if (length === 0 || length > limits.BLOCK_CHUNK_BYTES) throw malformed('a read of no bytes, or of more than a chunk')
      return { kind: 'read', id, sha256: digestAt(view, 20), offset, length }
    }
    case ACK:
      exactly(view, HEADER)
      return { kind: 'ack', bytes: id }
    case CANCEL:
      exactly(view, HEADER)
      return { kind: 'cancel', id }
    default:
      throw malformed('a frame of unknown kind')
  }
}

/** Reads a frame of a serving peer; `bytes` of contents lie in the frame. Throws SwarmError 'malformed'. */
export function decodeServerFrame (frame: Uint8Array): ServerFrame {
  const { view, id } = open(frame)
  switch (view[0]) {
    case SIZES_REPLY: {
      const count = itemsOf(view, SIZE_BYTES)
      return { kind: 'sizes', id, sizes: Array.from({ length: count }, (_, i) => sizeOf(view.readBigUInt64LE(HEADER + i * SIZE_BYTES))) }
    }
    case CONTENTS:
      if (view.length === HEADER || view.length > HEADER + limits.BLOCKS_FRAME_BYTES) throw malformed('contents of no bytes, or of too many')
      return { kind: 'contents', id, bytes: view.subarray(HEADER) }
    case ERROR:
      exactly(view, ERROR_BYTES)
      return { kind: 'error', id, code: wireCode(view[1]), retryAfterMs: view.readUInt32LE(8) }
    case CANCELLED:
      exactly(view, HEADER)
      return { kind: 'cancelled', id }
    default:
      throw malformed('a frame of unknown kind')
  }
}

/** A frame of zeros but for kind and id; it begins at `at`, right behind its prefix, so that both go out as one piece. */
function allocate (kind: number, id: number, bytes: number): { framed: Buffer, at: number } {
  const prefix: number[] = []
  let rest = bytes
  for (; rest > 0x7f; rest >>>= 7) prefix.push((rest & 0x7f) | 0x80)
  prefix.push(rest)
  const at = prefix.length
  const framed = Buffer.allocUnsafe(at + bytes)
  framed.set(prefix)
  framed.fill(0, at, at + Math.min(bytes, ERROR_BYTES))
  framed[at] = kind
  framed.writeUInt32LE(id, at + 4)
  return { framed, at }
}

function open (frame: Uint8Array): { view: Buffer, id: number } {
  if (frame.byteLength < HEADER) throw malformed('a frame shorter than a header')
  const view = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength)
  return { view, id: view.readUInt32LE(4) }
}

function itemsOf (view: Buffer, itemBytes: number): number {
  const count = (view.length - HEADER) / itemBytes
  if (!Number.isInteger(count) || count < 1 || count > limits.BLOCKS_MAX_DIGESTS) throw malformed('a list whose length does not fit')
  return count
}

function exactly (view: Buffer, bytes: number): void {
  if (view.length !== bytes) throw malformed('a frame of another length than its kind has')
}

function digestAt (view: Buffer, at: number): string {
  return view.toString('hex', at, at + DIGEST_BYTES)
}

function sizeOf (value: bigint): number | undefined {
  return value === ABSENT ? undefined : integerOf(value)
}

function integerOf (value: bigint): number {
  if (value > BigInt(limits.BLOCKS_MAX_FILE_BYTES)) throw malformed('a number out of range')
  return Number(value)
}

function malformed (reason: string): SwarmError<'malformed'> {
  return new SwarmError('malformed', `The other side sent ${reason}.`, { reason })
}
