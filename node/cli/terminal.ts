import { MultiBar, type SingleBar } from 'cli-progress'
import Table from 'cli-table3'
import colors from 'picocolors'
import { formatBytes } from '../index.js'

/** Options that every command has. */
export interface OutputOptions {
  /** One JSON object a line on stdout; everything else goes to stderr. */
  json?: boolean
  /** Errors only. */
  quiet?: boolean
}

/** Bars move at most this often a second. */
const BAR_FPS = 10

/**
 * The one place that writes to stdout and stderr. Results go to stdout; progress, notes and summaries to stderr, so that
 * `moeswarm generate > story.txt` holds the story alone.
 */
export class Terminal {
  private bars?: MultiBar

  constructor (private readonly options: OutputOptions) {}

  get json (): boolean { return this.options.json === true }

  /** A result for programs; nothing unless --json. */
  event (event: string, fields: object = {}): void {
    if (this.json) process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`)
  }

  /** A result for people, as it is; nothing with --json. */
  result (text: string): void {
    if (!this.json) process.stdout.write(text)
  }

  /** A line about what is going on, for people. */
  note (text: string): void {
    if (this.options.quiet !== true) process.stderr.write(`${text}\n`)
  }

  /** A line that --quiet shows too. */
  error (text: string): void { process.stderr.write(`${text}\n`) }

  /** Shows `done` of `total` of a step, of which `kept` was done before: a bar on a terminal, nothing elsewhere. A finished step's bar stays. */
  progress (label: string, unit: Unit = 'count'): (done: number, total: number, kept?: number) => void {
    if (process.stdout.isTTY !== true || process.stderr.isTTY !== true || this.json || this.options.quiet === true) return () => {}
    let bar: SingleBar | undefined
    const started = performance.now()
    return (done, total, kept = 0) => {
      this.bars ??= new MultiBar({
        format: '{label} {bar} {percentage}% {detail}', stream: process.stderr, fps: BAR_FPS, hideCursor: true,
        barCompleteChar: '█', barIncompleteChar: '░', clearOnComplete: false, emptyOnZero: true
      })
      bar ??= this.bars.create(total, 0, { label: label.padEnd(18), detail: '' })
      bar.setTotal(total)
      bar.update(done, { detail: unit === 'bytes' ? byteDetail(done, total, kept, started) : `${done}/${total}` })
    }
  }

  /** Ends the bars, so that other text can follow. */
  endProgress (): void {
    this.bars?.stop()
    this.bars = undefined
  }
}

export type Unit = 'count' | 'bytes'

function byteDetail (done: number, total: number, kept: number, started: number): string {
  const seconds = (performance.now() - started) / 1000
  const made = done - kept
  const left = made === 0 ? 0 : seconds * (total - done) / made
  return `${formatBytes(done)} of ${formatBytes(total)}, ${formatBytes(made / Math.max(seconds, 0.001))}/s, ${Math.ceil(left)} s left`
}

/** A table with a bold head and no walls. */
export function table (head: string[], rows: string[][]): string {
  const none = { top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '', left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '', middle: '  ' }
  const drawn = new Table({ head: head.map(colors.bold), chars: none, style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 } })
  drawn.push(...rows)
  return drawn.toString()
}

/** Milliseconds with a digit or two that say something; '-' for none. */
export function formatMs (ms: number): string {
  if (!Number.isFinite(ms)) return '-'
  return `${ms < 10 ? ms.toFixed(2) : ms.toFixed(1)} ms`
}
