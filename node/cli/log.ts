import { Option, type Command } from 'commander'
import type { Terminal } from './terminal.js'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']

export interface LogOptions {
  logLevel: LogLevel
  logFormat: 'text' | 'json'
}

/** Adds the options of a log to a command that runs for long. */
export function logOptions (command: Command): Command {
  return command
    .addOption(new Option('--log-level <level>', 'log this and what is graver').choices([...LEVELS]).default('info'))
    .addOption(new Option('--log-format <format>', 'text for people, json for collectors: an object a line on stderr').choices(['text', 'json']).default('text'))
}

/** What a long-running command tells on stderr: sentences, or one object a line with `time`, `level`, `event` and the event's fields. */
export class Log {
  constructor (private readonly terminal: Terminal, private readonly options: LogOptions) {}

  /** What commands tell that have no options of a log. */
  static plain (terminal: Terminal): Log { return new Log(terminal, { logLevel: 'info', logFormat: 'text' }) }

  get text (): boolean { return this.options.logFormat === 'text' }

  /** `message` is for people; undefined is too frequent or too fine for them, and only structured logs have it. */
  write (level: LogLevel, event: string, message: string | undefined, fields: object = {}): void {
    if (LEVELS.indexOf(level) < LEVELS.indexOf(this.options.logLevel)) return
    if (!this.text) this.terminal.note(JSON.stringify({ time: new Date().toISOString(), level, event, ...(message !== undefined && { message }), ...fields }))
    else if (message !== undefined) this.terminal.note(message)
    else if (level === 'debug') this.terminal.note(`${event} ${JSON.stringify(fields)}`)
  }
}
