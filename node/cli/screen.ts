const ENTER = '\u001b[?1049h\u001b[?25l'
const LEAVE = '\u001b[?25h\u001b[?1049l'
const HOME = '\u001b[H'
const CLEAR_LINE = '\u001b[K'
const CLEAR_BELOW = '\u001b[J'
const CTRL_C = '\u0003'

const ESCAPE = /\u001b\[[0-9;]*m/y

/** A view that fills the terminal, on its second screen: what was there before is back when it ends, however it ends. */
export class Screen {
  private readonly quitting = new AbortController()
  private view: ((columns: number) => string) | undefined

  /** Whether there is a terminal at both ends. */
  static isPossible (): boolean {
    return process.stdin.isTTY && process.stdout.isTTY
  }

  constructor () {
    process.stdout.write(ENTER)
    process.stdout.on('resize', this.redraw)
    process.on('exit', this.restore)
    process.stdin.setRawMode(true)
    process.stdin.on('data', this.onKey)
  }

  /** Aborts when q or Ctrl-C is pressed. */
  get quit (): AbortSignal { return this.quitting.signal }

  /** Shows `view` until the next; called again with the new width when the terminal is resized. Lines that do not fit are cut. */
  draw (view: (columns: number) => string): void {
    this.view = view
    this.redraw()
  }

  end (): void {
    process.stdout.off('resize', this.redraw)
    process.off('exit', this.restore)
    process.stdin.off('data', this.onKey)
    process.stdin.pause()
    this.restore()
  }

  private readonly restore = (): void => {
    process.stdin.setRawMode(false)
    process.stdout.write(LEAVE)
  }

  private readonly redraw = (): void => {
    if (this.view === undefined) return
    const { columns, rows } = process.stdout
    const lines = this.view(columns).split('\n').slice(0, rows - 1).map(line => clipped(line, columns) + CLEAR_LINE)
    process.stdout.write(`${HOME}${lines.join('\n')}\n${CLEAR_BELOW}`)
  }

  private readonly onKey = (bytes: Buffer): void => {
    const keys = bytes.toString()
    if (keys.includes('q') || keys.includes(CTRL_C)) this.quitting.abort()
  }
}

/** The first `columns` characters of a line; escape sequences take no room and are kept, so that no colour runs on. */
export function clipped (line: string, columns: number): string {
  let shown = ''
  let width = 0
  for (let at = 0; at < line.length;) {
    ESCAPE.lastIndex = at
    const escape = ESCAPE.exec(line)?.[0]
    if (escape !== undefined) {
      shown += escape
      at += escape.length
      continue
    }
    const character = String.fromCodePoint(line.codePointAt(at)!)
    if (width < columns) shown += character
    width++
    at += character.length
  }
  return shown
}
