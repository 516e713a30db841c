import type { Random } from './random.js'

/** A decoder that sees bytes of strangers. */
export interface FuzzTarget {
  name: string
  /** What the bytes are, for a person. */
  reads: string
  /** Of the inputs asked for, how many this one gets: 1, or less where one input costs a signature. */
  share: number
  /** An input that is accepted. */
  valid: (random: Random) => Uint8Array | Promise<Uint8Array>
  /** First bytes that a random input gets, so that it comes further than the first check. */
  kinds?: readonly number[]
  /** Decodes, and checks what came out. Returns its bytes. Throws the typed error for what is refused. */
  decode: (input: Uint8Array) => number | Promise<number>
  /** The name of a refusal that is none of our typed errors; undefined for what must not be thrown. */
  refusal?: (error: Error) => string | undefined
  /** Bytes that decoding an input of this many may take. */
  mayTake: (inputBytes: number) => number
}

/** A decoder that lets through what it should have refused. */
export class FuzzFinding extends Error {
  override readonly name = 'FuzzFinding'
}

export function must (holds: boolean, otherwise: string): void {
  if (!holds) throw new FuzzFinding(`the decoder accepted ${otherwise}`)
}
