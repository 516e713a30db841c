import assert from 'node:assert/strict'
import * as lp from 'it-length-prefixed'
import {
  decodeFetcherFrame, decodeServerFrame, encodeAck, encodeBlocksError, encodeCancel, encodeCancelled, encodeContents, encodeRead, encodeSizes, encodeSizesReply,
  type FetcherFrame, type ServerFrame
} from '../../../swarm/blocks/codec.js'
import { BLOCK_CHUNK_BYTES, BLOCKS_FRAME_BYTES, BLOCKS_MAX_DIGESTS, BLOCKS_MAX_FRAME_BYTES } from '../../../swarm/constants.js'
import { isSwarmError } from '../../../swarm/errors.js'
import { seeded } from '../../../scripts/seeded.js'

const DIGESTS = ['01'.repeat(32), 'fe'.repeat(32)]

/** Without its prefix, which must fit. */
function frameOf (framed: Uint8Array): Uint8Array {
  const frames = [...lp.decode([framed], { maxDataLength: BLOCKS_MAX_FRAME_BYTES })]
  assert.equal(frames.length, 1)
  return frames[0].subarray()
}

const FETCHER: Array<{ framed: Uint8Array, frame: FetcherFrame }> = [
  { framed: encodeSizes(1, DIGESTS), frame: { kind: 'sizes', id: 1, digests: DIGESTS } },
  { framed: encodeSizes(2, Array<string>(BLOCKS_MAX_DIGESTS).fill(DIGESTS[1])), frame: { kind: 'sizes', id: 2, digests: Array<string>(BLOCKS_MAX_DIGESTS).fill(DIGESTS[1]) } },
  { framed: encodeRead(0xffffffff, DIGESTS[0], 2 ** 40, BLOCK_CHUNK_BYTES), frame: { kind: 'read', id: 0xffffffff, sha256: DIGESTS[0], offset: 2 ** 40, length: BLOCK_CHUNK_BYTES } },
  { framed: encodeAck(65_536), frame: { kind: 'ack', bytes: 65_536 } },
  { framed: encodeCancel(7), frame: { kind: 'cancel', id: 7 } }
]

const SERVER: Array<{ framed: Uint8Array, frame: ServerFrame }> = [
  { framed: encodeSizesReply(1, [0, undefined, 2 ** 45]), frame: { kind: 'sizes', id: 1, sizes: [0, undefined, 2 ** 45] } },
  { framed: encodeContents(2, Buffer.alloc(BLOCKS_FRAME_BYTES, 5)), frame: { kind: 'contents', id: 2, bytes: Buffer.alloc(BLOCKS_FRAME_BYTES, 5) } },
  { framed: encodeContents(3, Buffer.of(1)), frame: { kind: 'contents', id: 3, bytes: Buffer.of(1) } },
  { framed: encodeBlocksError(4, 'busy', 2_000), frame: { kind: 'error', id: 4, code: 'busy', retryAfterMs: 2_000 } },
  { framed: encodeCancelled(5), frame: { kind: 'cancelled', id: 5 } }
]

const patched = (framed: Uint8Array, at: number, bytes: number[]): Uint8Array => {
  const frame = Uint8Array.from(frameOf(framed))
  frame.set(bytes, at)
  return frame
}

describe('block frames', () => {
  for (const { framed, frame } of FETCHER) {
    it(`of a fetcher survive the wire: ${frame.kind}, ${framed.length} bytes`, () => { assert.deepEqual(decodeFetcherFrame(frameOf(framed)), frame) })
  }
  for (const { framed, frame } of SERVER) {
    it(`of a serving peer survive the wire: ${frame.kind}, ${framed.length} bytes`, () => { assert.deepEqual(decodeServerFrame(frameOf(framed)), frame) })
  }

  for (const { id, frame } of [
    { id: 'nothing', frame: new Uint8Array(0) },
    { id: 'less than a header', frame: new Uint8Array(7) },
    { id: 'an unknown kind', frame: patched(encodeCancel(1), 0, [99]) },
    { id: 'a kind of the other side', frame: frameOf(encodeCancelled(1)) },
    { id: 'a question about nothing', frame: patched(encodeCancel(1), 0, [1]) },
    { id: 'half a digest', frame: frameOf(encodeSizes(1, DIGESTS)).subarray(0, 60) },
    { id: 'more digests than allowed', frame: frameOf(encodeSizes(1, DIGESTS.concat(Array<string>(BLOCKS_MAX_DIGESTS - 1).fill(DIGESTS[0])))) },
    { id: 'a read that is too short', frame: frameOf(encodeRead(1, DIGESTS[0], 0, 1)).subarray(0, 51) },
    { id: 'a read of no bytes', frame: frameOf(encodeRead(1, DIGESTS[0], 0, 0)) },
    { id: 'a read of more than a chunk', frame: frameOf(encodeRead(1, DIGESTS[0], 0, BLOCK_CHUNK_BYTES + 1)) },
    { id: 'a read beyond any file', frame: patched(encodeRead(1, DIGESTS[0], 0, 1), 15, [1]) },
    { id: 'an acknowledgement with more', frame: new Uint8Array([3, 0, 0, 0, 1, 0, 0, 0, 0]) }
  ]) {
    it(`are refused by a serving peer: ${id}`, () => { assert.throws(() => decodeFetcherFrame(frame), error => isSwarmError(error, 'malformed')) })
  }

  for (const { id, frame } of [
    { id: 'nothing', frame: new Uint8Array(0) },
    { id: 'an unknown kind', frame: patched(encodeCancelled(1), 0, [0]) },
    { id: 'contents of no bytes', frame: patched(encodeCancelled(1), 0, [6]) },
    { id: 'contents of too many bytes', frame: frameOf(encodeContents(1, Buffer.alloc(BLOCKS_FRAME_BYTES + 1))) },
    { id: 'a size out of range', frame: patched(encodeSizesReply(1, [5]), 14, [1]) },
    { id: 'an error of unknown code', frame: patched(encodeBlocksError(1, 'busy'), 1, [77]) },
    { id: 'an error that is too short', frame: frameOf(encodeBlocksError(1, 'busy')).subarray(0, 11) }
  ]) {
    it(`are refused by a fetcher: ${id}`, () => { assert.throws(() => decodeServerFrame(frame), error => isSwarmError(error, 'malformed')) })
  }

  it('of random bytes become values or are refused', () => {
    const random = seeded(11)
    for (let round = 0; round < 20_000; round++) {
      const frame = Uint8Array.from({ length: Math.floor(random() * 80) }, () => random() * 256)
      if (frame.length > 0) frame[0] = random() * 10
      for (const decode of [decodeFetcherFrame, decodeServerFrame]) {
        try {
          decode(frame)
        } catch (error) {
          assert.ok(isSwarmError(error, 'malformed'), String(error))
        }
      }
    }
  })
})
