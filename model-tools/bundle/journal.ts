import { appendFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Fields } from '../fields.js'
import { writeAtomically } from './atomic-file.js'
import type { FileDigest } from './file-hash.js'

/** Raise the number when the same checkpoint and settings give other bytes than before. */
const FORMAT = 'moeswarm-conversion/2'
export const JOURNAL_FILE = 'conversion.journal'

/** What a conversion is of: one that goes on must be of the same. */
export interface JournalHead {
  /** Of weights, configuration and settings. */
  fingerprint: string
  /** The checkpoint as the user named it. */
  checkpoint: string
  /** See CheckpointSource. */
  pinned?: string
}

/**
 * What an unfinished conversion has got done: a line for its settings, then one for every file whose bytes are known. Lines are only appended, so
 * a process that dies in the middle of one costs this one file.
 */
export class ConversionJournal {
  private constructor (private readonly path: string) {}

  /** What opens the bytes that an unfinished conversion of `checkpoint` in `dir` has read; undefined where there is none. */
  static async pinned (dir: string, checkpoint: string): Promise<string | undefined> {
    const [head] = await readLines(dir) ?? []
    const pinned = head?.get('pinned')
    return head?.get('format') === FORMAT && head.get('checkpoint') === checkpoint && typeof pinned === 'string' ? pinned : undefined
  }

  /** Reads the journal in `dir`. One of other settings or another checkpoint counts for nothing: `stale` is then true. */
  static async read (dir: string, fingerprint: string): Promise<{ finished: Map<string, FileDigest>, stale: boolean } | undefined> {
    const all = await readLines(dir)
    if (all == null) return undefined
    const [head, ...lines] = all
    const stale = head == null || head.get('format') !== FORMAT || head.get('fingerprint') !== fingerprint
    const finished = new Map<string, FileDigest>()
    if (!stale) {
      for (const line of lines) {
        const file = line?.get('file')
        const sha256 = line?.get('sha256')
        const bytes = line?.get('bytes')
        const chunks = line?.get('chunks')
        if (typeof file === 'string' && typeof sha256 === 'string' && typeof bytes === 'number' && isStrings(chunks)) finished.set(file, { sha256, bytes, chunks })
      }
    }
    return { finished, stale }
  }

  /** Starts a new journal with files that are known to be good. The old one, if any, is there until the new one is whole. */
  static async create (dir: string, head: JournalHead, finished: Map<string, FileDigest>): Promise<ConversionJournal> {
    const journal = new ConversionJournal(join(dir, JOURNAL_FILE))
    const lines = [{ format: FORMAT, ...head }, ...[...finished].map(([file, digest]) => ({ file, ...digest }))]
    await writeAtomically(journal.path, async sink => sink.write(new TextEncoder().encode(lines.map(line => `${JSON.stringify(line)}\n`).join(''))))
    return journal
  }

  /** Call after the file has taken its name. A lost line only means that the file is made again. */
  async add (file: string, digest: FileDigest): Promise<void> {
    await appendFile(this.path, `${JSON.stringify({ file, ...digest })}\n`)
  }
}

async function readLines (dir: string): Promise<Array<Fields | undefined> | undefined> {
  const text = await readFile(join(dir, JOURNAL_FILE), 'utf8').catch(() => undefined)
  return text?.split('\n').map(parseLine)
}

function isStrings (value: unknown): value is string[] {
  return Array.isArray(value) && value.every(item => typeof item === 'string')
}

/** Undefined for a line that was cut off. */
function parseLine (line: string): Fields | undefined {
  try {
    return new Fields(JSON.parse(line), JOURNAL_FILE)
  } catch {
    return undefined
  }
}
