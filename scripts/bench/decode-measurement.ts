import type { LapTimes } from '../../node/client/lap-profile.js'
import type { ProcessMemory } from './process-memory.js'

/** What every side does after loading and warming up, in the same order. */
export interface Work {
  /** Of each process that computes, unless it says otherwise. */
  threads: number
  /** Decoded in one go, after a short prompt. */
  tokens: number
  /** How often they are. */
  repeats: number
  /** Lengths of prompts of random tokens. */
  prefill: number[]
  signal?: AbortSignal
}

export interface MeasuredProcess {
  name: string
  /** While it computed; undefined where the system does not tell. */
  memory?: ProcessMemory
  /** Bytes of weights in the files that it serves, of a peer. */
  hostedBytes?: number
}

/** One run of one side, in fresh processes. */
export interface Measurement {
  /** Until the first token could be computed: of all processes, one after the other where they are. */
  loadSeconds: number
  /** Tokens per second of each repeat. */
  decode: number[]
  /** Tokens per second by length. */
  prefill: Record<string, number[]>
  processes: MeasuredProcess[]
  /** Means of our laps: decoding, and prefill chunks by length of the prompt. */
  laps?: { decode: LapTimes[], prefill: Record<string, LapTimes> }
}
