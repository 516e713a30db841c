import * as limits from '../constants.js'
import { SwarmError } from '../errors.js'
import type { ContentFile } from './interface.js'

const DIGEST = /^[0-9a-f]{64}$/
/** No segment starts with a dot, no backslash, no colon: on no system does a path lead out of the directory that it is relative to. */
const PATH = /^[A-Za-z0-9_][A-Za-z0-9._-]*(\/[A-Za-z0-9_][A-Za-z0-9._-]*)*$/

/** Bytes of a chunk. */
export function chunkBytes (file: ContentFile, chunk: number): number {
  return Math.min(limits.BLOCK_CHUNK_BYTES, file.bytes - chunk * limits.BLOCK_CHUNK_BYTES)
}

/** Of the chunks that are not there. */
export function missingBytes (file: ContentFile, have: Uint8Array): number {
  let bytes = 0
  for (let chunk = 0; chunk < have.length; chunk++) {
    if (have[chunk] === 0) bytes += chunkBytes(file, chunk)
  }
  return bytes
}

/** A manifest is authentic, but whoever made it may be a stranger. Throws SwarmError 'bad-argument' unless all files can be fetched side by side. */
export function checkFiles (files: readonly ContentFile[]): void {
  const paths = new Set<string>()
  for (const file of files) {
    const fault = faultOf(file) ?? (paths.has(file.path) ? 'is named twice' : undefined)
    if (fault != null) throw new SwarmError('bad-argument', `The file ${JSON.stringify(file.path.slice(0, 200))} ${fault}.`, { argument: 'files' })
    paths.add(file.path)
  }
}

function faultOf ({ path, bytes, sha256, chunks }: ContentFile): string | undefined {
  if (!PATH.test(path)) return 'has a path that is not a plain relative one'
  if (!Number.isInteger(bytes) || bytes < 0 || bytes > limits.BLOCKS_MAX_FILE_BYTES) return 'has a size out of range'
  if (!DIGEST.test(sha256) || !chunks.every(digest => DIGEST.test(digest))) return 'has a digest that is not 64 lower-case hex digits'
  if (chunks.length !== Math.ceil(bytes / limits.BLOCK_CHUNK_BYTES)) return 'has another number of chunks than its size asks for'
  return undefined
}
