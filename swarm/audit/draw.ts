import { createHash, randomBytes } from 'node:crypto'

/** Draws that one digest is good for. */
const DRAWS = 8

/**
 * Which requests are audited. SHA-256 of a seed and a counter: who has seen all draws so far knows nothing of the next one, so a peer cannot
 * tell when it may lie.
 */
export class AuditDraw {
  #counter = 0
  #digest = Buffer.alloc(0)

  /** `share` in [0, 1]. @param seed - equal ones draw the same. @default by chance, as unpredictable as a key */
  constructor (readonly share: number, private readonly seed: string | Uint8Array = randomBytes(32)) {}

  next (): boolean {
    if (this.share <= 0) return false
    if (this.share >= 1) return true
    const at = this.#counter % DRAWS
    if (at === 0) this.#digest = createHash('sha256').update(this.seed).update(`/${this.#counter}`).digest()
    this.#counter++
    return this.#digest.readUInt32LE(at * 4) / 2 ** 32 < this.share
  }
}
