import { statfs } from 'node:fs/promises'
import { resolve } from 'node:path'
import { ModelError } from '../errors.js'
import { formatBytes } from '../format-bytes.js'

/** Beside the files of weights: manifest, journal, directories, and what the file system needs for itself. */
const RESERVE_BYTES = 8 * 1024 * 1024

/** Throws ModelError 'no-space' when the disk of `dir`, which exists, has no room for `bytes` more. */
export async function requireSpace (dir: string, bytes: number): Promise<void> {
  const needed = bytes === 0 ? 0 : bytes + RESERVE_BYTES
  const free = await freeBytes(dir)
  if (needed <= free) return
  throw new ModelError('no-space', `The bundle needs ${formatBytes(needed)} in ${resolve(dir)}, where ${formatBytes(free)} are free: ${formatBytes(needed - free)} are missing; make room or give another directory with --out.`,
    { path: dir, needed, free, missing: needed - free })
}

/** Whether a system call failed because the disk, or the user's share of it, is full. */
export function isDiskFull (error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')
}

/** For a disk that filled up in the middle. `remaining` are the bytes of all files that are not done. */
export async function diskFull (dir: string, remaining: number, cause: unknown): Promise<ModelError> {
  const free = await freeBytes(dir)
  const missing = Math.max(0, remaining - free)
  const what = missing > 0 ? `${formatBytes(missing)} are missing` : 'a quota or another process has taken the room'
  return new ModelError('no-space', `The disk of ${resolve(dir)} is full: ${formatBytes(remaining)} are still to be written where ${formatBytes(free)} are free, so ${what}; make room and run the same command again, it keeps what is done.`,
    { path: dir, needed: remaining, free, missing }, { cause })
}

async function freeBytes (dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir)
  return bavail * bsize
}
