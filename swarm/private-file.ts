import { randomBytes } from 'node:crypto'
import { chmod, link, open, unlink, writeFile } from 'node:fs/promises'
import { SwarmError } from './errors.js'

/** Bytes of the longest secret that we keep in a file. */
const MAX_BYTES = 64 * 1_024

/**
 * A secret kept in `file`; undefined when there is no such file.
 * Throws SwarmError 'bad-key-file' when it cannot be read, or can be by others than its owner.
 */
export async function readPrivateFile (file: string): Promise<Buffer | undefined> {
  try {
    const handle = await open(file, 'r')
    try {
      const { mode, size } = await handle.stat()
      if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
        throw new SwarmError('bad-key-file', `The key file ${file} can be read or changed by others (mode ${(mode & 0o777).toString(8).padStart(4, '0')}): run \`chmod 600 ${file}\`, or make a new key if it may have leaked.`, { file })
      }
      if (size > MAX_BYTES) throw new SwarmError('bad-key-file', `The key file ${file} is too long to hold a key: name another file.`, { file })
      return await handle.readFile()
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined
    if (error instanceof SwarmError) throw error
    throw new SwarmError('bad-key-file', `The key file ${file} cannot be read: check the path and its permissions.`, { file }, { cause: error })
  }
}

/**
 * Writes a secret that only its owner can read, beside and linked into place: no reader sees half a key. Returns false, and changes nothing, when the file
 * is there already. Throws SwarmError 'bad-key-file'.
 */
export async function createPrivateFile (file: string, bytes: Uint8Array): Promise<boolean> {
  const fresh = `${file}.${randomBytes(6).toString('hex')}.tmp`
  try {
    await writeFile(fresh, bytes, { mode: 0o600, flag: 'wx' })
    try {
      await chmod(fresh, 0o600)
      await link(fresh, file)
      return true
    } finally {
      await unlink(fresh)
    }
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false
    throw new SwarmError('bad-key-file', `The key file ${file} cannot be created: check that its folder exists and can be written.`, { file }, { cause: error })
  }
}

function isErrno (error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
