import type { ToolCall } from './chat-template.js'

/** How a model writes the calls of tools into its answer. */
export interface ToolCallSyntax {
  open: string
  close: string
  /** What stands between `open` and `close`; undefined when it is no call. */
  parse: (body: string) => ToolCall['function'] | undefined
  /** Spans of the answer that are not for its reader, such as a thought. */
  hidden: Array<{ open: string, close: string }>
}

/** Gemma 4: `<|tool_call>call:NAME{key:value,...}<tool_call|>`, keys bare, strings between `<|"|>` (gemma4-spec, section 8). */
const GEMMA4: ToolCallSyntax = { open: '<|tool_call>', close: '<tool_call|>', parse: parseGemma4, hidden: [{ open: '<|channel>', close: '<channel|>' }] }

/** Hermes and Qwen: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`. */
const HERMES: ToolCallSyntax = { open: '<tool_call>', close: '</tool_call>', parse: parseHermes, hidden: [{ open: '<think>', close: '</think>' }] }

/** The syntax that a chat template shows to the model; undefined where it knows no tools. */
export function toolCallSyntax (template: string): ToolCallSyntax | undefined {
  return [GEMMA4, HERMES].find(({ open }) => template.includes(open))
}

function parseHermes (body: string): ToolCall['function'] | undefined {
  try {
    const call = JSON.parse(body) as { name?: unknown, arguments?: unknown } | null
    if (typeof call?.name !== 'string' || !isRecord(call.arguments)) return undefined
    return { name: call.name, arguments: call.arguments }
  } catch {
    return undefined
  }
}

function isRecord (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const QUOTE = '<|"|>'

function parseGemma4 (body: string): ToolCall['function'] | undefined {
  const match = /^\s*call:([^{\s]+)\s*(\{[^]*)$/.exec(body)
  if (match === null) return undefined
  const reader = new Gemma4Values(match[2])
  const value = reader.value()
  return isRecord(value) && reader.atEnd ? { name: match[1], arguments: value } : undefined
}

/** Values may nest this deep: a model's text must not exhaust the stack. */
const MAX_DEPTH = 32

/** Reads Gemma 4's JSON without quotes around keys. Anything wrong makes the value undefined: a model's text is no program. */
class Gemma4Values {
  private at = 0

  constructor (private readonly text: string) {}

  get atEnd (): boolean { return this.text.slice(this.at).trim() === '' }

  value (depth = 0): unknown {
    if (depth > MAX_DEPTH) return undefined
    if (this.take(QUOTE)) return this.quoted()
    if (this.take('{')) return this.members(depth)
    if (this.take('[')) return this.items(depth)
    const word = /^[^,{}[\]]+/.exec(this.text.slice(this.at))?.[0] ?? ''
    this.at += word.length
    return word.trim() === '' ? undefined : bare(word.trim())
  }

  private quoted (): string | undefined {
    const end = this.text.indexOf(QUOTE, this.at)
    if (end < 0) return undefined
    const text = this.text.slice(this.at, end)
    this.at = end + QUOTE.length
    return text
  }

  private members (depth: number): Record<string, unknown> | undefined {
    const members: Array<[string, unknown]> = []
    if (this.take('}')) return {}
    do {
      const key = this.take(QUOTE) ? this.quoted() : this.bareKey()
      if (key === undefined || !this.take(':')) return undefined
      const value = this.value(depth + 1)
      if (value === undefined) return undefined
      members.push([key, value])
    } while (this.take(','))
    return this.take('}') ? Object.fromEntries(members) : undefined
  }

  private items (depth: number): unknown[] | undefined {
    const items: unknown[] = []
    if (this.take(']')) return items
    do {
      const value = this.value(depth + 1)
      if (value === undefined) return undefined
      items.push(value)
    } while (this.take(','))
    return this.take(']') ? items : undefined
  }

  private bareKey (): string | undefined {
    const key = /^\s*([^:,{}[\]]+)/.exec(this.text.slice(this.at))
    if (key === null) return undefined
    this.at += key[0].length
    return key[1].trim()
  }

  private take (token: string): boolean {
    const blanks = /^\s*/.exec(this.text.slice(this.at))![0].length
    if (!this.text.startsWith(token, this.at + blanks)) return false
    this.at += blanks + token.length
    return true
  }
}

/** A number, true, false or null; anything else is text that the model forgot to quote. */
function bare (word: string): unknown {
  if (/^(true|false|null|-?\d+(\.\d+)?([eE][+-]?\d+)?)$/.test(word)) return JSON.parse(/^-?0\d/.test(word) ? JSON.stringify(word) : word)
  return word
}

/** What a piece of an answer came to. */
export interface AnswerPiece {
  content: string
  calls: Array<ToolCall['function']>
}

/** Takes calls out of an answer as it is written. What may become the mark of a call is held back; a call that cannot be read stays text. */
export class ToolCallReader {
  private held = ''

  constructor (private readonly syntax: ToolCallSyntax) {}

  push (piece: string): AnswerPiece {
    this.held += piece
    const out: AnswerPiece = { content: '', calls: [] }
    while (this.step(out)) { /* one span after the other */ }
    return out
  }

  /** What the answer ended in the middle of. */
  end (): AnswerPiece {
    const content = this.syntax.hidden.some(({ open }) => this.held.startsWith(open)) ? '' : this.held
    this.held = ''
    return { content, calls: [] }
  }

  private step (out: AnswerPiece): boolean {
    const spans = [{ ...this.syntax, call: true }, ...this.syntax.hidden.map(span => ({ ...span, call: false }))]
    const next = spans
      .map(span => ({ ...span, at: this.held.indexOf(span.open) }))
      .filter(span => span.at >= 0)
      .sort((a, b) => a.at - b.at)[0]
    if (next === undefined) {
      const keep = spans.reduce((most, { open }) => Math.max(most, endsWithBeginning(this.held, open)), 0)
      out.content += this.held.slice(0, this.held.length - keep)
      this.held = this.held.slice(this.held.length - keep)
      return false
    }
    out.content += this.held.slice(0, next.at)
    this.held = this.held.slice(next.at)
    const end = this.held.indexOf(next.close, next.open.length)
    if (end < 0) return false
    const whole = this.held.slice(0, end + next.close.length)
    this.held = this.held.slice(whole.length)
    if (next.call) {
      const call = this.syntax.parse(whole.slice(next.open.length, end))
      if (call === undefined) out.content += whole
      else out.calls.push(call)
    }
    return this.held !== ''
  }
}

function endsWithBeginning (text: string, mark: string): number {
  for (let length = Math.min(text.length, mark.length - 1); length > 0; length--) if (text.endsWith(mark.slice(0, length))) return length
  return 0
}
