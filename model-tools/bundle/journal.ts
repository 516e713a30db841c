import { appendFile, mkdir, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Fields } from '../fields.js'
import type { FileDigest } from './atomic-file.js'

/** Raise the number when the same checkpoint and settings give other bytes than before. */
const FORMAT = 'moeswarm-conversion/1'
export const JOURNAL_FILE = 'conversion.journal'

/**
 * What an unfinished conversion has got done: a line for its settings, then one for every finished file. Lines are only appended, so
 * a process that dies in the middle of one costs this one file.
 */
export class ConversionJournal {
  private constructor (private readonly path: string) {}

  /** Opens the journal in `dir`. One of other settings or another checkpoint counts for nothing: `stale` is then true. */
  static async read (dir: string, fingerprint: string): Promise<{ finished: Map<string, FileDigest>, stale: boolean } | undefined> {
    const text = await readFile(join(dir, JOURNAL_FILE), 'utf8').catch(() => undefined)
    if (text == null) return undefined
    const [head, ...lines] = text.split('\n').map(parseLine)
    const stale = head == null || head.get('format') !== FORMAT || head.get('fingerprint') !== fingerprint
    const finished = new Map<string, FileDigest>()
    if (!stale) {
      for (const line of lines) {
        const file = line?.get('file')
        const sha256 = line?.get('sha256')
        const bytes = line?.get('bytes')
        if (typeof file === 'string' && typeof sha256 === 'string' && typeof bytes === 'number') finished.set(file, { sha256, bytes })
      }
    }
    return { finished, stale }
  }

  /** Starts a new journal, and the directory if need be, with files that are known to be good. */
  static async create (dir: string, fingerprint: string, finished: Map<string, FileDigest>): Promise<ConversionJournal> {
    const journal = new ConversionJournal(join(dir, JOURNAL_FILE))
    const lines = [{ format: FORMAT, fingerprint }, ...[...finished].map(([file, digest]) => ({ file, ...digest }))]
    await mkdir(dir, { recursive: true })
    const handle = await open(journal.path, 'w')
    try {
      await handle.writeFile(lines.map(line => `${JSON.stringify(line)}\n`).join(''))
      await handle.sync()
    } finally {
      await handle.close()
    }
    return journal
  }

  /** Call after the file has taken its name. A lost line only means that the file is made again. */
  async add (file: string, digest: FileDigest): Promise<void> {
    await appendFile(this.path, `${JSON.stringify({ file, ...digest })}\n`)
  }
}

/** Undefined for a line that was cut off. */
function parseLine (line: string): Fields | undefined {
  try {
    return new Fields(JSON.parse(line), JOURNAL_FILE)
  } catch {
    return undefined
  }
}
