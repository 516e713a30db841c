import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { stateDirectory } from '../state-directory.js'

/** Lines that are kept. */
export const HISTORY_LINES = 1_000

function historyPath (env: NodeJS.ProcessEnv): string {
  return join(stateDirectory(env), 'chat-history')
}

/** What was typed before, newest first as readline has it; nothing where there is no such file. */
export async function readHistory (env = process.env): Promise<string[]> {
  const text = await readFile(historyPath(env), 'utf8').catch(() => '')
  return text.split('\n').filter(line => line !== '').reverse().slice(0, HISTORY_LINES)
}

/** Keeps what was typed, readable by the user alone. A home that cannot be written to is no reason to fail. */
export async function writeHistory (newestFirst: string[], env = process.env): Promise<void> {
  const path = historyPath(env)
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await writeFile(path, newestFirst.slice(0, HISTORY_LINES).reverse().map(line => `${line}\n`).join(''), { mode: 0o600 })
    // The mode above counts for a new file only.
    await chmod(path, 0o600)
  } catch { /* the history is a convenience */ }
}
