import { spawn, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { MANIFEST_FILE } from '../model-tools/index.js'

/** The command line of this very build, wherever it lies. */
const CLI = fileURLToPath(new URL('../node/cli/main.js', import.meta.url))
const POLL_MS = 2
/** What a conversion that is not done may have beside files of the bundle. */
const UNFINISHED = /\.partial$|^conversion\.(journal|lock)/

export interface KilledConversion {
  /** Milliseconds that a conversion which is left alone holds its directory. */
  straightMs: number
  /** When it was killed, in milliseconds from when it took its directory, and how many files were then whole. */
  kills: Array<{ afterMs: number, files: number }>
  /** Whether the killed one ended with the very files of the straight one. */
  isEqual: boolean
}

/**
 * Converts a checkpoint twice: straight, and killed with SIGKILL at random moments and resumed each time. After every kill each whole file must
 * be that of the straight conversion, and there must be no manifest. A conversion that is done before its kill starts over.
 * Rejects when one of this does not hold.
 *
 * @param dir - made and left to the caller
 * @param args - of `moeswarm convert`, beside checkpoint and --out
 */
export async function killedConversion (checkpoint: string, dir: string, kills: number, args: string[]): Promise<KilledConversion> {
  const straight = join(dir, 'straight')
  const out = join(dir, 'killed')
  const start = (to: string): ChildProcess => spawn(process.execPath, [CLI, 'convert', checkpoint, '--out', to, '--quiet', ...args], { stdio: ['ignore', 'ignore', 'inherit'] })
  const first = start(straight)
  const finished = succeed(first)
  await locked(straight, first)
  const began = performance.now()
  await finished
  const straightMs = performance.now() - began
  const expected = await digests(straight)

  const done: KilledConversion['kills'] = []
  while (done.length < kills) {
    const child = start(out)
    const exited = once(child, 'exit')
    await locked(out, child)
    const afterMs = Math.random() * straightMs
    await sleep(afterMs)
    child.kill('SIGKILL')
    await exited
    const found = await digests(out)
    if (MANIFEST_FILE in found) {
      await rm(out, { recursive: true })
      continue
    }
    const whole = Object.keys(found).filter(file => !UNFINISHED.test(file))
    const wrong = whole.find(file => found[file] !== expected[file])
    if (wrong != null) throw new Error(`${wrong} was half-written when the conversion was killed after ${afterMs.toFixed(0)} ms`)
    done.push({ afterMs, files: whole.length })
  }
  await succeed(start(out))
  return { straightMs, kills: done, isEqual: JSON.stringify(await digests(out)) === JSON.stringify(expected) }
}

/** Until the process has begun to work, which is long after its start where machines are busy. A lock that a killed process has left is not its own. */
async function locked (dir: string, child: ChildProcess): Promise<void> {
  for (let text = ''; !text.includes(`"pid":${child.pid},`) && child.exitCode == null; await sleep(POLL_MS)) text = await readFile(join(dir, 'conversion.lock'), 'utf8').catch(() => '')
}

async function succeed (child: ChildProcess): Promise<void> {
  const [code] = await once(child, 'exit') as [number | null]
  if (code !== 0) throw new Error(`moeswarm convert ended with ${code}`)
}

/** File -> sha256 of everything below a directory, in order of names; nothing where there is none. */
async function digests (dir: string): Promise<Record<string, string>> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => [])
  const paths = entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name)).sort()
  return Object.fromEntries(await Promise.all(paths.map(async path =>
    [path.slice(dir.length + 1), createHash('sha256').update(await readFile(path)).digest('hex')] as const)))
}
