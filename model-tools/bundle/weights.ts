import { readEncoded, readValues, type TensorReader } from '../checkpoint/source.js'
import { ModelError } from '../errors.js'
import { encodeRows, type EncodedRows } from '../quantize/rows.js'
import type { DigestSink } from './atomic-file.js'
import type { FilePlan, RowRange } from './conversion-plan.js'
import type { WeightFormat } from './manifest.js'

/** Values that are read and encoded at once: 16 MiB as float32, beside at most as much in either coded form. */
const CHUNK_VALUES = 4 * 1024 * 1024

/** What a tensor has beside its data, in the order in which it follows that. */
const BESIDE_DATA = ['scales', 'zeros'] as const

/**
 * Writes a file of weights: each tensor's data as it is read, then its scales and zeros, which are collected meanwhile (an eighth of the data
 * or less). `onBytes` gets the bytes of every step; their sum is the file's size. Rejects as the source does.
 */
export async function writeWeights (source: TensorReader, { parts }: FilePlan, sink: DigestSink, onBytes: (bytes: number) => void): Promise<void> {
  let reported = 0
  const report = (): void => {
    onBytes(sink.position - reported)
    reported = sink.position
  }
  for (const { entry, sources, offset } of parts) {
    await sink.padTo(entry.offset)
    const pieces: { scales: Uint8Array[], zeros: Uint8Array[] } = { scales: [], zeros: [] }
    for (const range of sources.flatMap(splitRows)) {
      const encoded = await encodeRange(source, range, entry.format, offset)
      await sink.write(encoded.data)
      for (const part of BESIDE_DATA) if (encoded[part] != null) pieces[part].push(encoded[part])
      report()
    }
    for (const part of BESIDE_DATA) {
      if (entry[part] == null) continue
      await sink.padTo(entry[part].offset)
      for (const piece of pieces[part]) await sink.write(piece)
      report()
    }
  }
}

function splitRows ({ name, firstRow, rows, columns }: RowRange): RowRange[] {
  const step = Math.max(1, Math.floor(CHUNK_VALUES / columns))
  return Array.from({ length: Math.ceil(rows / step) }, (_, index) =>
    ({ name, firstRow: firstRow + index * step, rows: Math.min(step, rows - index * step), columns }))
}

async function encodeRange (source: TensorReader, { name, firstRow, rows, columns }: RowRange, format: WeightFormat, offset: number): Promise<EncodedRows> {
  try {
    if (offset === 0) return await readEncoded(source, name, format, columns, firstRow, rows)
    const values = await readValues(source, name, firstRow * columns, rows * columns)
    return encodeRows(format, values.map(value => value + offset), columns)
  } catch (error) {
    if (!(error instanceof ModelError) || error.code !== 'malformed') throw error
    throw new ModelError(error.code, `Tensor ${name} of ${source.location}, rows ${firstRow} to ${firstRow + rows - 1}: ${error.message}`, { ...error.data, name, firstRow, rows }, { cause: error })
  }
}
