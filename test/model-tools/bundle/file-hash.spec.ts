import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { digestBytes, FILE_CHUNK_BYTES, FileHash } from '../../../model-tools/bundle/file-hash.js'
import { BLOCK_CHUNK_BYTES } from '../../../swarm/index.js'

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

describe('FileHash', () => {
  const bytes = Uint8Array.from({ length: 2 * FILE_CHUNK_BYTES + 12_345 }, (_, i) => (i * 31) >> 3)

  for (const length of [0, 1, FILE_CHUNK_BYTES - 1, FILE_CHUNK_BYTES, FILE_CHUNK_BYTES + 1, bytes.length]) {
    it(`takes ${length} bytes in pieces of any size`, () => {
      const file = bytes.subarray(0, length)
      const chunks = Array.from({ length: Math.ceil(length / FILE_CHUNK_BYTES) }, (_, i) => sha256(file.subarray(i * FILE_CHUNK_BYTES, (i + 1) * FILE_CHUNK_BYTES)))
      for (const piece of [length, 1_000_003, 65_536]) {
        const hash = new FileHash()
        for (let at = 0; at < length; at += piece) hash.update(file.subarray(at, at + piece))
        assert.deepEqual(hash.digest(), { sha256: sha256(file), bytes: length, chunks })
      }
      assert.deepEqual(digestBytes(file), { sha256: sha256(file), bytes: length, chunks })
    })
  }

  it('cuts files where the block protocol does', () => { assert.equal(FILE_CHUNK_BYTES, BLOCK_CHUNK_BYTES) })
})
