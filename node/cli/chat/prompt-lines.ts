import { createInterface, type Interface } from 'node:readline'
import { HISTORY_LINES, readHistory, writeHistory } from './history-file.js'
import { SLASH_NAMES } from './slash-commands.js'

/** What the person did: a line, Ctrl-C, or the end of the input. */
export type Typed = { type: 'line', line: string } | { type: 'interrupt' } | { type: 'end' }

/** Lines from a terminal, with editing, history and completion, or from a pipe. Lines that come while nobody asks are kept. */
export class PromptLines {
  private readonly typed: Typed[] = []
  private waiting?: (typed: Typed) => void
  private history: string[]

  private constructor (private readonly lines: Interface, readonly isTerminal: boolean, history: string[]) {
    this.history = history
    lines.on('line', line => { this.push({ type: 'line', line }) })
    lines.on('close', () => { this.push({ type: 'end' }) })
    // In raw mode the terminal sends no signal: Ctrl-C is a key like others.
    lines.on('SIGINT', () => { this.onInterrupt() })
    lines.on('history', next => { this.history = next })
  }

  /** What Ctrl-C does. It interrupts the reading unless somebody else takes it. */
  onInterrupt = (): void => { this.push({ type: 'interrupt' }) }

  /** `signal` ends the input. */
  static async open (signal: AbortSignal): Promise<PromptLines> {
    const isTerminal = process.stdin.isTTY && process.stdout.isTTY
    const history = isTerminal ? await readHistory() : []
    const lines = createInterface({
      input: process.stdin,
      output: isTerminal ? process.stdout : undefined,
      terminal: isTerminal,
      history: [...history],
      historySize: HISTORY_LINES,
      removeHistoryDuplicates: true,
      completer: (line: string) => [line.startsWith('/') ? SLASH_NAMES.filter(name => name.startsWith(line)) : [], line]
    })
    signal.addEventListener('abort', () => { lines.close() }, { once: true })
    return new PromptLines(lines, isTerminal, history)
  }

  /** What is typed next, after `prompt`. */
  async next (prompt: string): Promise<Typed> {
    const before = this.typed.shift()
    if (before !== undefined) return before
    if (this.isTerminal) {
      this.lines.setPrompt(prompt)
      this.lines.prompt()
    }
    return await new Promise(resolve => { this.waiting = resolve })
  }

  /** Whether the line being typed has text; it is thrown away. */
  clearLine (): boolean {
    const had = this.lines.line !== ''
    this.lines.write(null, { ctrl: true, name: 'e' })
    this.lines.write(null, { ctrl: true, name: 'u' })
    return had
  }

  /** Gives the terminal back and keeps the history. */
  async close (): Promise<void> {
    this.lines.close()
    if (this.isTerminal) await writeHistory(this.history)
  }

  private push (typed: Typed): void {
    const waiting = this.waiting
    this.waiting = undefined
    if (waiting === undefined) this.typed.push(typed)
    else waiting(typed)
  }
}
