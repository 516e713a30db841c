/** What a job of a few tokens takes is kept for the next one: fresh memory costs a fault a page. */
const REUSED_BYTES = 8 * 1024 * 1024

/** Shared memory for jobs. */
export class JobMemory {
  readonly #free: SharedArrayBuffer[] = []

  constructor (private readonly kept: number) {}

  /** At least `bytes`. What is in it is anything. */
  take (bytes: number): SharedArrayBuffer {
    const at = this.#free.findIndex(({ byteLength }) => byteLength >= bytes)
    if (at >= 0) return this.#free.splice(at, 1)[0]
    return new SharedArrayBuffer(2 ** Math.ceil(Math.log2(bytes)))
  }

  giveBack (memory: SharedArrayBuffer): void {
    if (memory.byteLength > REUSED_BYTES) return
    this.#free.push(memory)
    this.#free.sort((a, b) => b.byteLength - a.byteLength)
    this.#free.length = Math.min(this.#free.length, this.kept)
  }
}
