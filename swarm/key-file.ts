import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { SwarmError } from './errors.js'
import { createPrivateFile, readPrivateFile } from './private-file.js'

/**
 * The identity kept in `file`, an Ed25519 key in libp2p's protobuf form. Creates it, readable by its owner only, when there is none.
 * Of two processes that create it both use the first. Throws SwarmError 'bad-key-file', also for a file that others can read.
 */
export async function loadOrCreateKey (file: string): Promise<PrivateKey> {
  const existing = await loadKey(file)
  if (existing != null) return existing
  const key = await generateKeyPair('Ed25519')
  if (await createPrivateFile(file, privateKeyToProtobuf(key))) return key
  // Another process was first.
  const theirs = await loadKey(file)
  if (theirs != null) return theirs
  throw new SwarmError('bad-key-file', `The key file ${file} cannot be created: something that is no file has its name.`, { file })
}

async function loadKey (file: string): Promise<PrivateKey | undefined> {
  const bytes = await readPrivateFile(file)
  if (bytes == null) return undefined
  try {
    return privateKeyFromProtobuf(bytes)
  } catch (error) {
    throw new SwarmError('bad-key-file', `${file} does not hold a libp2p private key: name another file, or delete it to get a new identity.`, { file }, { cause: error })
  }
}
