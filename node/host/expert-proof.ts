import { f32Tensor, type Session } from '../onnx-session.js'

/** Rows of the runs that are compared: kernels multiply with a vector in one way and with a matrix in another. */
const PROOF_ROWS = [1, 5]

/** What a session computes of made-up inputs, one after the other: the bytes of all outputs. `columns`: of each input, by name. */
export async function provenOutputs (session: Session, columns: Record<string, number>): Promise<Buffer> {
  const results: Buffer[] = []
  for (const rows of PROOF_ROWS) {
    const feeds = Object.fromEntries(Object.entries(columns).map(([name, count]) => [name, pattern(rows, count)]))
    for (const { data } of Object.values(await session.run(feeds))) results.push(Buffer.from(new Uint8Array((data as Float32Array).buffer)))
  }
  return Buffer.concat(results)
}

function pattern (rows: number, columns: number): ReturnType<typeof f32Tensor> {
  return f32Tensor(Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i)), [rows, columns])
}
