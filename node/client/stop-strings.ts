import { ModelError } from '../../model-tools/index.js'

/** Ends a text before the first of some strings, wherever tokens cut them. What may be the beginning of one is held back. */
export class StopStrings {
  private held = ''
  private stopped = false

  /** @throws ModelError 'out-of-range' for an empty string, which every text contains */
  constructor (private readonly stops: readonly string[]) {
    if (stops.includes('')) throw new ModelError('out-of-range', 'A stop string is empty: leave it out, or give at least one character.')
  }

  /** Text that no stop string can begin in any more; all text before the stop string when one is complete, and then nothing more. */
  push (piece: string): { text: string, stopped: boolean } {
    if (this.stopped) return { text: '', stopped: true }
    const text = this.held + piece
    const found = this.stops.map(stop => text.indexOf(stop)).filter(at => at >= 0)
    if (found.length > 0) {
      this.held = ''
      this.stopped = true
      return { text: text.slice(0, Math.min(...found)), stopped: true }
    }
    const final = text.length - Math.max(0, ...this.stops.map(stop => beginningAtEnd(text, stop)))
    this.held = text.slice(final)
    return { text: text.slice(0, final), stopped: false }
  }

  /** What was held back and became no stop string. */
  end (): string {
    const text = this.held
    this.held = ''
    return text
  }
}

/** Length of the longest end of `text` that `stop` begins with. */
function beginningAtEnd (text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length
  }
  return 0
}
