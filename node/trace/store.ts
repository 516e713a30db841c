import { mkdir, readdir, readFile, unlink, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { ModelError } from '../../model-tools/index.js'
import type { GenerationTrace } from './trace.js'

/** Traces that are kept; the oldest goes when another comes. */
const TRACES_KEPT = 50

const FILE = /^(\d{14}-[0-9a-f]{6})\.json$/

/** $XDG_STATE_HOME/moeswarm/traces. */
export function traceDirectory (): string {
  return join(process.env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'moeswarm', 'traces')
}

/** The last generations of this machine's user, a file each. */
export class TraceStore {
  constructor (private readonly dir = traceDirectory()) {}

  async save (trace: GenerationTrace): Promise<void> {
    await mkdir(this.dir, { recursive: true, mode: 0o700 })
    await writeFile(join(this.dir, `${trace.id}.json`), JSON.stringify(trace), { mode: 0o600 })
    for (const id of (await this.ids()).slice(TRACES_KEPT)) await unlink(join(this.dir, `${id}.json`)).catch(() => { /* another process was first */ })
  }

  /** The newest first. */
  async ids (): Promise<string[]> {
    const names = await readdir(this.dir).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []
      throw error
    })
    return names.flatMap(name => FILE.exec(name)?.[1] ?? []).sort().reverse()
  }

  /** @param id - or what it starts with. @default the last @throws ModelError 'not-found' */
  async open (id?: string): Promise<GenerationTrace> {
    const ids = await this.ids()
    const found = id === undefined ? ids[0] : ids.find(one => one.startsWith(id))
    if (found === undefined) {
      throw new ModelError('not-found', id === undefined
        ? `There is no trace of a generation in ${this.dir}: moeswarm generate leaves one.`
        : `There is no trace of a generation ${id} in ${this.dir}, which keeps the last ${TRACES_KEPT}: moeswarm explain --list names them.`, { path: this.dir })
    }
    const path = join(this.dir, `${found}.json`)
    try {
      const trace = JSON.parse(await readFile(path, 'utf8')) as GenerationTrace
      if (trace.format === 1) return trace
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
    }
    throw new ModelError('unsupported', `The trace ${path} is of another version of moeswarm: remove it.`, { path })
  }
}
