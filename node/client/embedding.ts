import { closeSync, openSync, readSync } from 'node:fs'
import { type Bundle, decodeRow, ModelError, type TensorEntry } from '../../model-tools/index.js'

/** Reads embedding rows from the bundle one token at a time: the table of a large vocabulary is bigger than what a lap needs of it. */
export class Embedding {
  private readonly fd: number
  private readonly entry: TensorEntry
  private readonly row: Buffer
  private readonly scales: Buffer

  constructor (private readonly bundle: Bundle) {
    this.entry = bundle.tensor('embedding')
    const { vocabSize } = bundle.config
    this.row = Buffer.alloc(this.entry.bytes / vocabSize)
    this.scales = Buffer.alloc((this.entry.scales?.bytes ?? 0) / vocabSize)
    this.fd = openSync(bundle.path(this.entry.file), 'r')
  }

  /** [ids, H], scaled. @throws ModelError 'out-of-range' for an id outside the vocabulary */
  lookup (ids: ArrayLike<number>): Float32Array {
    const { hiddenSize, embeddingScale, vocabSize } = this.bundle.config
    const out = new Float32Array(ids.length * hiddenSize)
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]
      if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
        throw new ModelError('out-of-range', `Token id ${id} is outside the vocabulary of ${vocabSize}; ids run from 0 to ${vocabSize - 1}.`, { id })
      }
      this.read(id, out, i * hiddenSize)
    }
    for (let k = 0; k < out.length; k++) out[k] *= embeddingScale
    return out
  }

  /** The row of a token, not scaled, into `out` from `offset` on. */
  read (id: number, out: Float32Array<ArrayBuffer>, offset = 0): void {
    readSync(this.fd, this.row, 0, this.row.length, this.entry.offset + id * this.row.length)
    if (this.entry.scales !== undefined) readSync(this.fd, this.scales, 0, this.scales.length, this.entry.scales.offset + id * this.scales.length)
    decodeRow(this.entry.format, { data: this.row, scales: this.scales }, this.bundle.config.hiddenSize, 0, out, offset)
  }

  close (): void { closeSync(this.fd) }
}
