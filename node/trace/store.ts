import { mkdir, readdir, readFile, unlink, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { ModelError } from '../../model-tools/index.js'
import type { GenerationTrace } from './trace.js'

/** Traces that are kept; the oldest goes when another comes. */
const TRACES_KEPT = 50

/** What a beginning of a trace id must have: shorter ones are misspelt ids of traces. */
const SHORTEST_TRACE_ID = 8

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

  /** @param id - of the trace, or a W3C trace id, or what one of them starts with. @default the last @throws ModelError 'not-found' */
  async open (id?: string): Promise<GenerationTrace> {
    const ids = await this.ids()
    const found = id === undefined ? ids[0] : ids.find(one => one.startsWith(id)) ?? await this.byTraceId(id, ids)
    if (found === undefined) {
      throw new ModelError('not-found', id === undefined
        ? `There is no trace of a generation in ${this.dir}: moeswarm generate, chat and serve leave one of each text that came to its end.`
        : `There is no trace of a generation ${id} in ${this.dir}, which keeps the last ${TRACES_KEPT}: moeswarm explain --list names them.`, { path: this.dir })
    }
    return await this.read(found)
  }

  /** The newest one's id. */
  private async byTraceId (traceId: string, ids: string[]): Promise<string | undefined> {
    if (traceId.length < SHORTEST_TRACE_ID) return undefined
    for (const id of ids) {
      const trace = await this.read(id).catch(() => undefined)
      if (trace?.traceId.startsWith(traceId) === true) return id
    }
    return undefined
  }

  private async read (id: string): Promise<GenerationTrace> {
    const path = join(this.dir, `${id}.json`)
    try {
      const trace = JSON.parse(await readFile(path, 'utf8')) as GenerationTrace
      if (trace.format === 2) return trace
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
    }
    throw new ModelError('unsupported', `The trace ${path} is of another version of moeswarm: remove it.`, { path })
  }
}
