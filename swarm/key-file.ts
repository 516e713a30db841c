import { randomBytes } from 'node:crypto'
import { chmod, link, readFile, unlink, writeFile } from 'node:fs/promises'
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { SwarmError } from './errors.js'

/**
 * The identity kept in `file`, an Ed25519 key in libp2p's protobuf form. Creates it, readable by its owner only, when there is none.
 * Throws SwarmError 'bad-key-file'.
 */
export async function loadOrCreateKey (file: string): Promise<PrivateKey> {
  return await loadKey(file) ?? await createKey(file)
}

async function loadKey (file: string): Promise<PrivateKey | undefined> {
  let bytes: Uint8Array
  try {
    bytes = await readFile(file)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined
    throw new SwarmError('bad-key-file', `The key file ${file} cannot be read: check the path and its permissions.`, { file }, { cause: error })
  }
  try {
    return privateKeyFromProtobuf(bytes)
  } catch (error) {
    throw new SwarmError('bad-key-file', `${file} does not hold a libp2p private key: name another file, or delete it to get a new identity.`, { file }, { cause: error })
  }
}

/** Written beside and linked into place: no reader sees half a key, and of two processes that create it both use the first. */
async function createKey (file: string): Promise<PrivateKey> {
  const key = await generateKeyPair('Ed25519')
  const fresh = `${file}.${randomBytes(6).toString('hex')}.tmp`
  try {
    await writeFile(fresh, privateKeyToProtobuf(key), { mode: 0o600, flag: 'wx' })
    try {
      await chmod(fresh, 0o600)
      await link(fresh, file)
      return key
    } finally {
      await unlink(fresh)
    }
  } catch (error) {
    if (isErrno(error, 'EEXIST')) {
      const existing = await loadKey(file)
      if (existing != null) return existing
    }
    throw new SwarmError('bad-key-file', `The key file ${file} cannot be created: check that its folder exists and can be written.`, { file }, { cause: error })
  }
}

function isErrno (error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
