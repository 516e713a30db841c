import { createHash } from 'node:crypto'
import { readdir, rm, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { ModelError } from '../errors.js'
import { DigestSink, PARTIAL } from './atomic-file.js'
import { canonicalJson } from './canonical-json.js'
import { readText, type Conversion, type Output, type Promised } from './conversion.js'
import { sha256OfFile } from './digest.js'
import type { FileDigest } from './file-hash.js'
import { ConversionJournal, JOURNAL_FILE } from './journal.js'
import { LOCK_FILE } from './lock.js'
import { Bundle, MANIFEST_FILE } from './reader.js'
import { writeWeights } from './weights.js'

/** What need not be made again. */
export interface FinishedFiles {
  /** Digests that are known, of files that are there or are not wanted. */
  digests: Map<string, FileDigest>
  /** What every file must be: that of the conversion, or of the bundle that is there. */
  promised?: Promised
}

/** Weights that any further training changes: the attention of the first layer and the final norm. */
const SAMPLED_FILES = ['client/layer-00.bin', 'client/final.bin']

/**
 * Looks what the directory `out`, which is locked, holds, and removes what a conversion that died or that was of other settings has left.
 * Rejects with ModelError 'not-found' when it holds anything that this conversion would destroy, or with the signal's reason.
 *
 * @param onKept - gets the bytes of every file that is kept
 */
export async function finishedFiles (out: string, conversion: Conversion, onKept: (output: Output) => void, signal?: AbortSignal): Promise<FinishedFiles> {
  const names = (await readdir(out)).filter(name => !name.startsWith(LOCK_FILE) && name !== JOURNAL_FILE + PARTIAL)
  for (const { file } of conversion.outputs) await rm(join(out, file) + PARTIAL, { force: true })
  if (names.includes(MANIFEST_FILE)) return filesOfSameBundle(out, conversion, onKept)
  const { promised, outputs } = conversion
  const digests = new Map<string, FileDigest>()
  const keep = (output: Output, digest: FileDigest): void => {
    digests.set(output.file, digest)
    if (output.wanted || promised == null) onKept(output)
  }
  const journal = await ConversionJournal.read(out, conversion.fingerprint)
  if (journal == null && names.length > 0) {
    throw new ModelError('not-found', `${resolve(out)} is not empty and holds no bundle; give another directory with --out.`, { path: out })
  }
  // Of a conversion with other settings: its files are ours, and none of them fits.
  if (journal?.stale === true) for (const name of ['client', 'experts', 'text', JOURNAL_FILE]) await rm(join(out, name), { recursive: true, force: true })
  for (const output of outputs) {
    signal?.throwIfAborted()
    const { file, bytes, wanted } = output
    const digest = promised?.manifest.files[file] ?? journal?.finished.get(file)
    if (digest == null) continue
    if (!wanted) keep(output, digest)
    else if (journal?.finished.get(file)?.sha256 === digest.sha256 && await hasDigest(join(out, file), bytes, digest.sha256, signal)) keep(output, digest)
  }
  return { digests, promised }
}

async function hasDigest (path: string, bytes: number, sha256: string, signal?: AbortSignal): Promise<boolean> {
  if ((await stat(path).catch(() => undefined))?.size !== bytes) return false
  return await sha256OfFile(path, { signal }) === sha256
}

/**
 * `out` holds a bundle. It is this one when settings, sizes, text files and, as samples of the weights, some small files are equal.
 * Files that it lacks are made again.
 */
async function filesOfSameBundle (out: string, conversion: Conversion, onKept: (output: Output) => void): Promise<FinishedFiles> {
  const { config, drafter, quant, blockExperts, outputs, promised } = conversion
  const { manifest } = await Bundle.open(out)
  const path = join(out, MANIFEST_FILE)
  if (promised != null && canonicalJson(promised.manifest) !== canonicalJson(manifest)) throw otherBundle(out, `its manifest, which is not ${promised.path}`)
  if (canonicalJson(manifest.config) !== canonicalJson(config)) throw otherBundle(out, 'its model')
  if (canonicalJson(manifest.drafter ?? {}) !== canonicalJson(drafter ?? {})) throw otherBundle(out, 'its drafter')
  if (manifest.quant !== quant) throw otherBundle(out, `quant, which is ${manifest.quant}`)
  if (manifest.blockExperts !== blockExperts) throw otherBundle(out, `experts a block, which are ${manifest.blockExperts}`)
  if (canonicalJson(Object.keys(manifest.files).sort()) !== canonicalJson(outputs.map(({ file }) => file).sort())) throw otherBundle(out, 'its files')
  // With a manifest that the user vouches for, every file is checked when it is made, and nothing else need be read.
  if (promised == null) await requireSamples(out, conversion, manifest.files)
  const digests = new Map<string, FileDigest>()
  for (const output of outputs) {
    const isThere = await stat(join(out, output.file)).catch(() => undefined) != null
    if (!isThere && output.wanted) continue
    digests.set(output.file, manifest.files[output.file])
    if (output.wanted) onKept(output)
  }
  return { digests, promised: { manifest, path } }
}

async function requireSamples (out: string, { source, outputs }: Conversion, files: Record<string, FileDigest>): Promise<void> {
  for (const output of outputs) {
    if ('text' in output) {
      const sha256 = createHash('sha256').update(await readText(source, output.text)).digest('hex')
      if (sha256 !== files[output.file].sha256) throw otherBundle(out, output.file)
    } else if (SAMPLED_FILES.includes(output.file)) {
      const sink = new DigestSink()
      await writeWeights(source, output.plan, sink, () => { /* sampling is no progress */ })
      if (sink.digest().sha256 !== files[output.file].sha256) throw otherBundle(out, output.file)
    }
  }
}

export function otherBundle (out: string, what: string): ModelError {
  return new ModelError('not-found', `${resolve(out)} already holds another bundle (it differs in ${what}); delete it or give another directory with --out.`, { path: out, what })
}
