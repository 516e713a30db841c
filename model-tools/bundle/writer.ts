import { mkdir, readFile, rm, rmdir, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { openCheckpoint } from '../checkpoint/open.js'
import type { CheckpointSource } from '../checkpoint/source.js'
import { ModelError } from '../errors.js'
import { makeFile, writeAtomically } from './atomic-file.js'
import type { FileDigest } from './file-hash.js'
import { canonicalJson } from './canonical-json.js'
import { prepareConversion, readText, type Conversion, type ConversionSettings, type Output } from './conversion.js'
import { diskFull, isDiskFull, requireSpace } from './disk-space.js'
import { EncoderPool } from './encoder-pool.js'
import { finishedFiles, otherBundle, type FinishedFiles } from './finished-files.js'
import { ConversionJournal, JOURNAL_FILE } from './journal.js'
import { lockDirectory } from './lock.js'
import type { BundleManifest } from './manifest.js'
import { Bundle, MANIFEST_FILE } from './reader.js'

export interface ConversionProgress {
  /** Of what is to be made; files of an earlier, broken-off run count, too. */
  doneBytes: number
  totalBytes: number
  /** Of `doneBytes`, those that were there before. */
  keptBytes: number
  file: string
}

export interface ConversionOptions extends ConversionSettings {
  /** Directory with config.json, safetensors weights and tokenizer.json, a .gguf file, or `hf:owner/name[@revision]`. */
  checkpoint: string
  /** Directory to create. May hold a broken-off conversion, which is then continued. */
  out: string
  /** Threads that encode; each takes 100 MiB or so. The bundle does not depend on it. @default the cores, at most 8 */
  threads?: number
  signal?: AbortSignal
  onProgress?: (progress: ConversionProgress) => void
}

/** With more, reading is the limit. */
const MAX_THREADS = 8
/** Files in hand a thread: while one waits for the checkpoint or the disk, another is encoded. */
const FILES_PER_THREAD = 2

/**
 * Converts a checkpoint, or a part of it, into a model bundle. Every file appears whole or not at all and the manifest last, so a conversion
 * that broke off leaves nothing that loads; called again it keeps the files that are done. Equal checkpoints and settings give equal bytes,
 * and a part has the manifest of the whole: without `manifest`, all tensors are therefore read and encoded, whatever is written. A
 * directory that already holds this very bundle is left as it is, but for files that it lacks.
 *
 * Rejects with a ModelError that names the file, key or tensor, 'no-space' before or when the disk is full, 'busy' when another conversion
 * writes into `out`, 'hash-mismatch' when the bytes are not those of `manifest`, or with the signal's reason.
 */
export async function convertCheckpoint (options: ConversionOptions): Promise<Bundle> {
  const { checkpoint, out, signal } = options
  signal?.throwIfAborted()
  // What is a branch's tip today may not have been when the conversion began.
  const source = await openCheckpoint(await ConversionJournal.pinned(out, checkpoint) ?? checkpoint, signal)
  let drafter: CheckpointSource | undefined
  try {
    if (options.drafter != null) drafter = await openCheckpoint(options.drafter, signal)
    const conversion = await prepareConversion(source, options, drafter)
    signal?.throwIfAborted()
    const found = await stat(out).catch(() => undefined)
    if (found != null && !found.isDirectory()) throw new ModelError('not-found', `${out} is a file; give a directory for the bundle with --out.`, { path: out })
    await mkdir(out, { recursive: true })
    const unlock = await lockDirectory(out)
    try {
      return await convert(conversion, options)
    } finally {
      await unlock()
      // A conversion that was refused leaves no empty directory behind, where it made one.
      if (found == null) await rmdir(out).catch(() => { /* it has files, as it should */ })
    }
  } finally {
    await source.close()
    await drafter?.close()
  }
}

async function convert (conversion: Conversion, options: ConversionOptions): Promise<Bundle> {
  const { out, signal, checkpoint } = options
  const { source, config, drafter, quant, blockExperts, plan, outputs, fingerprint } = conversion
  const advance = progress(conversion, options)
  const finished = await finishedFiles(out, conversion, ({ file, bytes }) => { advance(file, bytes, true) }, signal)
  const isPending = ({ file }: Output): boolean => !finished.digests.has(file)
  try {
    if (outputs.some(isPending)) {
      await requireSpace(out, sizeOf(outputs.filter(isPending)))
      // Before the first file: a directory with files and no journal would be taken for somebody else's.
      const journal = await ConversionJournal.create(out, { fingerprint, checkpoint, pinned: source.pinned }, finished.digests)
      await makeFiles(outputs.filter(isPending), conversion, finished, options, journal, advance)
    }
    const files = finished.promised?.manifest.files ?? Object.fromEntries(finished.digests)
    await writeManifest(out, { format: 'moeswarm-bundle/1', config, drafter, quant, blockExperts, files, tensors: plan.tensors, blocks: plan.blocks })
  } catch (error) {
    throw isDiskFull(error) ? await diskFull(out, sizeOf(outputs.filter(isPending)), error) : error
  }
  await rm(join(out, JOURNAL_FILE), { force: true })
  return Bundle.open(out)
}

type Advance = (file: string, bytes: number, isKept?: boolean) => void

function progress ({ outputs, promised }: Conversion, { onProgress }: ConversionOptions): Advance {
  // What is neither wanted nor needed for the manifest is no work.
  const totalBytes = outputs.reduce((sum, { bytes, wanted }) => wanted || promised == null ? sum + bytes : sum, 0)
  let doneBytes = 0
  let keptBytes = 0
  return (file, bytes, isKept = false) => {
    doneBytes += bytes
    if (isKept) keptBytes += bytes
    onProgress?.({ doneBytes, totalBytes, keptBytes, file })
  }
}

/** Makes files, several at once, and enters them into `finished` and the journal. The first that fails ends the others. */
async function makeFiles (pending: Output[], conversion: Conversion, { digests, promised }: FinishedFiles, { out, signal, threads }: ConversionOptions,
  journal: ConversionJournal, advance: Advance): Promise<void> {
  const weights = pending.filter(output => 'plan' in output).length
  const pool = new EncoderPool(conversion.source, Math.min(weights, threads ?? Math.min(availableParallelism(), MAX_THREADS)))
  const make = async (output: Output): Promise<FileDigest> => {
    const { file, wanted } = output
    const target = { path: wanted ? join(out, file) : undefined, sha256: promised?.manifest.files[file].sha256 }
    if ('plan' in output) return pool.make(output.plan, target, bytes => { advance(file, bytes) })
    const bytes = await readText(conversion.source, output.text)
    const digest = await makeFile(file, target, async sink => sink.write(bytes))
    advance(file, bytes.length)
    return digest
  }
  const queue = [...pending]
  let failure: { file: string, error: unknown } | undefined
  const fail = (error: unknown, file: string): void => {
    failure ??= { error, file }
    queue.length = 0
    pool.stop(error instanceof Error ? error : new Error(String(error)))
  }
  const interrupt = (): void => { fail(signal?.reason, '') }
  const lane = async (): Promise<void> => {
    for (let output = queue.shift(); output != null; output = queue.shift()) {
      try {
        const digest = await make(output)
        digests.set(output.file, digest)
        await journal.add(output.file, digest)
      } catch (error) {
        fail(error, output.file)
      }
    }
  }
  signal?.addEventListener('abort', interrupt, { once: true })
  if (signal?.aborted === true) interrupt()
  try {
    await Promise.all(Array.from({ length: Math.max(1, pool.threads * FILES_PER_THREAD) }, lane))
  } finally {
    signal?.removeEventListener('abort', interrupt)
    await pool.close()
  }
  if (failure == null) return
  const { error, file } = failure
  if (!(error instanceof ModelError) || error.code !== 'hash-mismatch' || promised == null) throw error
  if (promised !== conversion.promised) throw otherBundle(out, file)
  throw new ModelError('hash-mismatch', `${file} made from ${conversion.source.location} is not the one that ${promised.path} promises; give the very checkpoint that its bundle was made from, or convert without --manifest.`,
    { ...error.data, path: promised.path }, { cause: error })
}

function sizeOf (outputs: Output[]): number {
  return outputs.reduce((sum, { bytes, wanted }) => wanted ? sum + bytes : sum, 0)
}

async function writeManifest (out: string, manifest: BundleManifest): Promise<void> {
  const bytes = new TextEncoder().encode(canonicalJson(manifest))
  const existing = await readFile(join(out, MANIFEST_FILE)).catch(() => undefined)
  if (existing?.equals(bytes) === true) return
  await writeAtomically(join(out, MANIFEST_FILE), async sink => sink.write(bytes))
}
