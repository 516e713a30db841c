import { createHash } from 'node:crypto'
import { open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { ClientTensorName } from '../architectures/tensors.js'
import { ModelError } from '../errors.js'
import type { EncodedRows } from '../quantize/rows.js'
import { sha256OfFile } from './digest.js'
import { expertLayout, type ExpertEntry } from './layout.js'
import type { BlockEntry, BundleManifest, ModelConfig, TensorEntry } from './manifest.js'
import { parseManifest } from './manifest-schema.js'

export const MANIFEST_FILE = 'manifest.json'
/** About a thousand times the manifest of a model of today. */
const MAX_MANIFEST_BYTES = 256 * 1024 * 1024
/** Largest single read; the system call itself ends at 2 GiB. */
const READ_BYTES = 64 * 1024 * 1024

export interface VerifyProgress {
  doneBytes: number
  totalBytes: number
  file: string
}

/**
 * A model bundle on disk. It may hold all files of its manifest, or only the client's, or only some blocks: a missing file is an
 * error for whoever needs it, not for the bundle.
 */
export class Bundle {
  private constructor (
    readonly dir: string,
    /** Lowercase hex sha256 of the manifest's bytes. Who holds the same id holds the same weights. */
    readonly id: string,
    readonly manifest: BundleManifest
  ) {}

  /**
   * Reads and checks the manifest and the sizes, not the bytes, of the files that are there.
   * Rejects with ModelError 'not-found', 'malformed' naming the field, or 'hash-mismatch' naming a file of the wrong size.
   */
  static async open (dir: string): Promise<Bundle> {
    const path = join(dir, MANIFEST_FILE)
    const found = await stat(path).catch(() => undefined)
    if (found?.isFile() !== true) {
      throw new ModelError('not-found', `${dir} holds no model bundle (there is no ${MANIFEST_FILE}); make one with moeswarm convert, or get one with moeswarm fetch.`, { path: dir })
    }
    if (found.size > MAX_MANIFEST_BYTES) throw new ModelError('malformed', `${path} has ${found.size} bytes, too many for a manifest; get the bundle again.`, { path })
    const bytes = await readFile(path)
    const manifest = parseManifest(bytes.toString('utf8'), path)
    const bundle = new Bundle(dir, createHash('sha256').update(bytes).digest('hex'), manifest)
    await Promise.all(Object.keys(manifest.files).map(async file => bundle.#checkSize(file)))
    return bundle
  }

  get config (): ModelConfig {
    return this.manifest.config
  }

  /** In order of layer and first expert; all blocks of the model, whether their files are here or not. */
  get blocks (): BlockEntry[] {
    return this.manifest.blocks
  }

  /** Throws ModelError 'missing-tensor' for a name that the model does not have. */
  tensor (name: ClientTensorName): TensorEntry {
    const entry = this.manifest.tensors[name]
    if (entry == null) throw new ModelError('missing-tensor', `The bundle in ${this.dir} holds no tensor ${name}; it is for another model.`, { names: [name] })
    return entry
  }

  /** The tensor that makes logits: a head of its own in few bits, whose best logits are to be computed again from the embedding, or the embedding itself. */
  get headTensor (): 'head' | 'embedding' {
    return Object.hasOwn(this.manifest.tensors, 'head') ? 'head' : 'embedding'
  }

  /** Where each expert of a block lies in the block's file, in ascending order. */
  experts ({ experts, file, firstExpert }: BlockEntry): ExpertEntry[] {
    return expertLayout(this.config, this.manifest.quant, experts, file, firstExpert).experts
  }

  /** Absolute or relative as `dir` is. */
  path (file: string): string {
    return join(this.dir, file)
  }

  /** Every file that is not a block: what a client needs. */
  clientFiles (): string[] {
    const blocks = new Set(this.blocks.map(({ file }) => file))
    return Object.keys(this.manifest.files).filter(file => !blocks.has(file))
  }

  /** The blocks whose files are here. Rejects like `has`. */
  async heldBlocks (): Promise<BlockEntry[]> {
    return (await Promise.all(this.blocks.map(async block => await this.has(block.file) ? [block] : []))).flat()
  }

  /** Whether all of `clientFiles` is here. Rejects like `has`. */
  async hasClientPart (): Promise<boolean> {
    return (await Promise.all(this.clientFiles().map(async file => await this.has(file)))).every(has => has)
  }

  /** Whether a file is here, with its right size. */
  async has (file: string): Promise<boolean> {
    return this.#checkSize(file)
  }

  /**
   * Reads a whole tensor into memory, to look at it: graphs have their weights from `path(entry.file)` through onnxruntime, the client its
   * embedding rows one by one. Rejects with ModelError 'not-found' or 'hash-mismatch' naming the file.
   */
  async read (entry: TensorEntry): Promise<EncodedRows> {
    await this.#require(entry.file)
    const handle = await open(this.path(entry.file))
    try {
      const part = async (offset: number, length: number): Promise<Uint8Array> => {
        const bytes = new Uint8Array(length)
        for (let done = 0; done < length;) {
          const { bytesRead } = await handle.read(bytes, done, Math.min(READ_BYTES, length - done), offset + done)
          if (bytesRead === 0) throw this.#mismatch(entry.file, 'ends too early')
          done += bytesRead
        }
        return bytes
      }
      const encoded: EncodedRows = { data: await part(entry.offset, entry.bytes) }
      for (const beside of ['scales', 'zeros'] as const) if (entry[beside] != null) encoded[beside] = await part(entry[beside].offset, entry[beside].bytes)
      return encoded
    } finally {
      await handle.close()
    }
  }

  /**
   * Compares files with the digests of the manifest, all of them where none are named.
   * Rejects with ModelError 'hash-mismatch' or 'not-found' naming the file, or the signal's reason.
   */
  async verify (files = Object.keys(this.manifest.files), { onProgress, signal }: { onProgress?: (progress: VerifyProgress) => void, signal?: AbortSignal } = {}): Promise<void> {
    // Missing and truncated files are found at once, before gigabytes are hashed.
    for (const file of files) await this.#require(file)
    const totalBytes = files.reduce((sum, file) => sum + this.manifest.files[file].bytes, 0)
    let doneBytes = 0
    for (const file of files) {
      const sha256 = await sha256OfFile(this.path(file), {
        signal,
        onBytes: bytes => {
          doneBytes += bytes
          onProgress?.({ doneBytes, totalBytes, file })
        }
      })
      if (sha256 !== this.manifest.files[file].sha256) throw this.#mismatch(file, 'does not have the bytes that its manifest promises')
    }
  }

  async #require (file: string): Promise<void> {
    if (!Object.hasOwn(this.manifest.files, file)) throw new ModelError('not-found', `${file} is no file of the bundle in ${this.dir}.`, { file })
    if (!await this.#checkSize(file)) throw new ModelError('not-found', `The bundle in ${this.dir} lacks ${file}, which is needed here; convert the model again or fetch the file.`, { file })
  }

  /** False where the file is absent. */
  async #checkSize (file: string): Promise<boolean> {
    const found = await stat(this.path(file)).catch(() => undefined)
    if (found == null) return false
    const { bytes } = this.manifest.files[file]
    if (!found.isFile() || found.size !== bytes) throw this.#mismatch(file, `has ${found.size} bytes where its manifest promises ${bytes}`)
    return true
  }

  #mismatch (file: string, problem: string): ModelError {
    return new ModelError('hash-mismatch', `${file} of the bundle in ${this.dir} ${problem}; it is damaged, delete it and convert or fetch it again.`, { file })
  }
}
