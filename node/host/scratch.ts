import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** Takes away files and directories of processes that were killed. `name` matches theirs and has the process id as its first group. */
export async function removeOfTheDead (dir: string, name: RegExp): Promise<void> {
  for (const found of await readdir(dir).catch(() => [])) {
    const pid = name.exec(found)?.[1]
    if (pid !== undefined && !isAlive(Number(pid))) await rm(join(dir, found), { recursive: true, force: true }).catch(() => undefined) // another start may be at it
  }
}

function isAlive (pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
