/** What a check found out, and what to do about it. */
export interface Finding {
  check: string
  /** 'unknown' is said where it cannot be found out from here. */
  status: 'ok' | 'warn' | 'bad' | 'unknown'
  /** For people. */
  found: string
  /** A sentence on what to do; absent where there is nothing. */
  advice?: string
  /** For programs. */
  data?: Record<string, unknown>
}
