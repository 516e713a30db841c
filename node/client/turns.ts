/** What a turn is for: of turns that would end alike, a token that somebody waits for goes before a prompt. */
export type Pass = 'decode' | 'prefill'

interface Waiting {
  sequence: object
  pass: Pass
  place: number | undefined
  /** Virtual time when it came. */
  sinceMs: number
  begin: () => void
}

/** A sequence's turn before: when it ended, in virtual time, and what it cost. */
interface Turn {
  endedMs: number
  costMs: number
}

const NONE: Turn = { endedMs: 0, costMs: 0 }

export interface TurnsInit {
  /** How many turns at one place may be in a row. @default 1 */
  together?: () => number
  /** Called when the last turn in a row at a place has ended, before the next begins elsewhere. */
  onLeave?: () => void
  /** Milliseconds. @default performance.now */
  now?: () => number
}

/**
 * Who computes next: one turn at a time, since a run keeps the thread. Weighted fair queueing (Demers, Keshav, Shenker 1989) with equal weights:
 * a sequence's turn is due when its turn before ended, or when it came if it was away, and whose turn would end first is next. So
 * sequences that always have something to compute get equal time whatever their turns cost, and one that mostly waits for the network
 * computes when the turn at hand ends: a long prompt delays a decoding sequence by one turn a layer, and a flood of either keeps nobody out.
 *
 * Turns of different sequences that wait at one place (a layer) are taken one after the other, so that what they ask for can be sent together: at most `together` in a row, which is as
 * much as anybody waits longer for it.
 */
export class Turns {
  private readonly waiting: Waiting[] = []
  private idlers: Array<() => void> = []
  private readonly before = new WeakMap<object, Turn>()
  /** Virtual time: the latest due time of a turn that was taken. */
  private virtualMs = 0
  private busy = false
  /** Where the turn at hand is, and how many in a row were there. */
  private place: number | undefined
  private inARow = 0

  constructor (private readonly init: TurnsInit = {}) {}

  /** Runs `compute` when it is the turn of `sequence`. Turns of one sequence keep their order. */
  async take<T> (sequence: object, pass: Pass, compute: () => T | Promise<T>, place?: number): Promise<T> {
    const sinceMs = this.virtualMs
    if (this.busy) await new Promise<void>(resolve => { this.waiting.push({ sequence, pass, place, sinceMs, begin: resolve }) })
    this.busy = true
    this.inARow = place === this.place ? this.inARow + 1 : 1
    this.place = place
    const dueMs = this.due(sequence, sinceMs)
    this.virtualMs = Math.max(this.virtualMs, dueMs)
    const start = this.now()
    try {
      return await compute()
    } finally {
      const companion = this.companion()
      if (companion === undefined) this.leave()
      const costMs = this.now() - start
      this.before.set(sequence, { endedMs: dueMs + costMs, costMs })
      this.handOn(companion)
    }
  }

  /** Resolves when there is nothing to compute: everybody waits for the network. */
  async idle (): Promise<void> {
    await new Promise<void>(resolve => {
      this.idlers.push(resolve)
      this.lookForIdleness()
    })
  }

  private due (sequence: object, sinceMs: number): number {
    return Math.max(sinceMs, (this.before.get(sequence) ?? NONE).endedMs)
  }

  private now (): number { return this.init.now?.() ?? performance.now() }

  /** Who waits at the place of the turn at hand, where one more may be taken there. */
  private companion (): Waiting | undefined {
    if (this.place === undefined || this.inARow >= (this.init.together?.() ?? 1)) return undefined
    return this.first(this.waiting.filter(({ place }) => place === this.place))
  }

  private leave (): void {
    if (this.place === undefined) return
    this.place = undefined
    this.init.onLeave?.()
  }

  private first (of: Waiting[]): Waiting | undefined {
    return of.reduce<Waiting | undefined>((first, one) => first === undefined || this.goesBefore(one, first) ? one : first, undefined)
  }

  private handOn (companion: Waiting | undefined): void {
    if (this.waiting.length === 0) {
      this.busy = false
      this.lookForIdleness()
      return
    }
    // Not at once: who has just computed may want to go on, and replies may have come meanwhile.
    setImmediate(() => {
      const next = companion ?? this.first(this.waiting)!
      this.waiting.splice(this.waiting.indexOf(next), 1)
      next.begin()
    })
  }

  private goesBefore (a: Waiting, b: Waiting): boolean {
    if (a.sequence === b.sequence) return false
    const [endA, endB] = [this.expectedEnd(a), this.expectedEnd(b)]
    return endA < endB || (endA === endB && a.pass === 'decode' && b.pass === 'prefill')
  }

  /** Its turn is expected to cost what the sequence's turn before has cost. */
  private expectedEnd ({ sequence, sinceMs }: Waiting): number {
    return this.due(sequence, sinceMs) + (this.before.get(sequence) ?? NONE).costMs
  }

  private lookForIdleness (): void {
    if (this.idlers.length === 0) return
    setImmediate(() => {
      if (this.busy) return
      for (const resolve of this.idlers.splice(0)) resolve()
    })
  }
}
