import { randomBytes } from 'node:crypto'
import { SwarmError } from './errors.js'
import { createPrivateFile, readPrivateFile } from './private-file.js'

/** The form that go-libp2p and js-libp2p share: three lines, the last one 32 bytes in hex. */
const SWARM_KEY = /^\/key\/swarm\/psk\/1\.0\.0\/\r?\n\/base16\/\r?\n[0-9a-f]{64}\s*$/i

/** A fresh pre-shared key. Who has it is in the swarm, so it is a secret. */
export function createSwarmKey (): string {
  return `/key/swarm/psk/1.0.0/\n/base16/\n${randomBytes(32).toString('hex')}\n`
}

/** Writes a fresh key to a file that only its owner can read. Throws SwarmError 'bad-key-file' when the file is there already. */
export async function writeSwarmKey (file: string): Promise<void> {
  if (await createPrivateFile(file, Buffer.from(createSwarmKey()))) return
  throw new SwarmError('bad-key-file', `${file} is there already: name another file, a key is never overwritten.`, { file })
}

/** Throws SwarmError 'bad-key-file' when there is no swarm key in the file, or others can read it. */
export async function readSwarmKey (file: string): Promise<string> {
  const bytes = await readPrivateFile(file)
  if (bytes == null) throw new SwarmError('bad-key-file', `There is no swarm key in ${file}: create one with \`moeswarm swarm-key --out ${file}\`, or copy that of the swarm.`, { file })
  const text = bytes.toString('latin1')
  if (!isSwarmKey(text)) throw new SwarmError('bad-key-file', `${file} does not hold a swarm key: it should have been made by \`moeswarm swarm-key\`.`, { file })
  return text
}

/** Whether this is a swarm key, as `createSwarmKey` makes it. */
export function isSwarmKey (text: string): boolean {
  return SWARM_KEY.test(text)
}
