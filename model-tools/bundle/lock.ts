import { link, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { ModelError } from '../errors.js'

export const LOCK_FILE = 'conversion.lock'
/** How often the holder shows that it is alive. */
const HEARTBEAT_MS = 10_000
/** Six missed heartbeats: the holder is gone, even where its process number has been given to another or is on another machine. */
const STALE_MS = 60_000

/**
 * Takes a directory, which exists, for this process. Returns what gives it back. A lock whose process has died is taken over.
 * Rejects with ModelError 'busy' naming the process that has it.
 */
export async function lockDirectory (dir: string): Promise<() => Promise<void>> {
  const path = join(dir, LOCK_FILE)
  const mine = JSON.stringify({ pid: process.pid, host: hostname() })
  while (!await create(path, mine)) {
    const holder = await liveHolder(path)
    if (holder != null) {
      throw new ModelError('busy', `Process ${holder.pid} on ${holder.host} is writing into ${resolve(dir)}; wait until it is done, or end it.`, { path: dir, ...holder })
    }
    await removeStale(path)
  }
  const heartbeat = setInterval(() => {
    const now = new Date()
    // A lock that cannot be touched only looks older than it is.
    utimes(path, now, now).catch(() => {})
  }, HEARTBEAT_MS)
  heartbeat.unref()
  return async () => {
    clearInterval(heartbeat)
    await rm(path, { force: true })
  }
}

/** False where there is one already. */
async function create (path: string, text: string): Promise<boolean> {
  try {
    const handle = await open(path, 'wx')
    try {
      await handle.writeFile(text)
    } finally {
      await handle.close()
    }
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw error
  }
}

interface Holder {
  pid: number
  host: string
}

async function liveHolder (path: string): Promise<Holder | undefined> {
  const [text, stats] = await Promise.all([readFile(path, 'utf8').catch(() => undefined), stat(path).catch(() => undefined)])
  if (text == null || stats == null || Date.now() - stats.mtimeMs > STALE_MS) return undefined
  const holder = parseHolder(text)
  // A lock without a text is one whose holder is about to write it, or died just then: it turns stale by itself.
  if (holder == null) return { pid: 0, host: 'an unknown machine' }
  return holder.host === hostname() && !isAlive(holder.pid) ? undefined : holder
}

function parseHolder (text: string): Holder | undefined {
  try {
    const { pid, host } = JSON.parse(text) as Partial<Holder>
    return typeof pid === 'number' && typeof host === 'string' ? { pid, host } : undefined
  } catch {
    return undefined
  }
}

function isAlive (pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // Somebody else's process is one, too.
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/** By a rename, which only one of several processes that found the same stale lock can do. One that came too late gives the new lock back. */
async function removeStale (path: string): Promise<void> {
  const aside = `${path}.${process.pid}`
  await rename(path, aside).catch(() => {})
  if (await liveHolder(aside) != null) await link(aside, path).catch(() => {})
  await rm(aside, { force: true })
}
