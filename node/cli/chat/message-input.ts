const FENCE = '"""'

/** Makes messages of lines: a trailing backslash goes on in the next line, and what stands between lines of `"""` is one message. */
export class MessageInput {
  private lines: string[] = []
  private fenced = false

  /** Whether a message has begun that is not complete. */
  get open (): boolean { return this.fenced || this.lines.length > 0 }

  /** The message that `line` completes. */
  push (line: string): string | undefined {
    if (!this.open && line.trimStart().startsWith(FENCE)) {
      this.fenced = true
      line = line.trimStart().slice(FENCE.length)
      if (line === '') return undefined
    }
    if (this.fenced) {
      const end = line.trimEnd()
      if (!end.endsWith(FENCE)) {
        this.lines.push(line)
        return undefined
      }
      const last = end.slice(0, -FENCE.length)
      return this.take(last === '' ? [] : [last])
    }
    if (line.endsWith('\\')) {
      this.lines.push(line.slice(0, -1))
      return undefined
    }
    return this.take([line])
  }

  /** The message that the end of the input completes. */
  end (): string | undefined { return this.open ? this.take([]) : undefined }

  /** Forgets what has begun. */
  clear (): void {
    this.lines = []
    this.fenced = false
  }

  private take (last: string[]): string {
    const message = [...this.lines, ...last].join('\n')
    this.clear()
    return message
  }
}
