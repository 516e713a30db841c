/** Where the wall time of laps went, in milliseconds. The rows add up to `total`. */
export interface LapTimes {
  /** Embedding rows and rotary angles. */
  embedding: number
  /** Waiting for the lap before it in the same sequence, or for other sequences' computing. */
  turn: number
  /** Attention, norms and router. */
  attention: number
  denseMlp: number
  /** Splitting a batch over peers and handing it to sockets or workers. */
  send: number
  /** Waiting after the dense MLP was done: the part in which experts computed or waited for a worker. */
  experts: number
  /** Waiting after the dense MLP was done: the rest, which is travel. */
  network: number
  head: number
  /** What no row above explains. */
  other: number
  total: number
}

type Row = Exclude<keyof LapTimes, 'other' | 'total'>

/** Adds up laps of one kind (prefill chunks apart from decoding). */
export class LapProfile {
  private readonly sums: Record<Row, number> = { embedding: 0, turn: 0, attention: 0, denseMlp: 0, send: 0, experts: 0, network: 0, head: 0 }
  private total = 0
  private count = 0

  /** Adds the time since `start` (performance.now) to `row` and returns the present time. */
  add (row: Row, start: number): number {
    const now = performance.now()
    this.sums[row] += now - start
    return now
  }

  /** Splits a wait into experts and network by the share of it that the slowest peer computed or queued. */
  addWait (start: number, computeMs: number): number {
    const now = performance.now()
    const experts = Math.min(now - start, computeMs)
    this.sums.experts += experts
    this.sums.network += now - start - experts
    return now
  }

  lapDone (ms: number): void {
    this.total += ms
    this.count++
  }

  /** Means over the laps. */
  mean (): LapTimes {
    const per = (ms: number): number => this.count === 0 ? 0 : ms / this.count
    const rows = Object.fromEntries(Object.entries(this.sums).map(([row, ms]) => [row, per(ms)])) as Record<Row, number>
    const explained = Object.values(rows).reduce((a, b) => a + b, 0)
    return { ...rows, other: Math.max(0, per(this.total) - explained), total: per(this.total) }
  }
}
