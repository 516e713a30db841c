import { Command, CommanderError, InvalidArgumentError } from 'commander'
import { asSwarmError, isSwarmError, ModelError } from '../index.js'
import { type OutputOptions, Terminal } from './terminal.js'

/** Exit code after Ctrl-C, as shells have it. */
const INTERRUPTED = 130

/** A terminal's Ctrl-C reaches a whole process group, and a parent may pass it on: within this time, in milliseconds, that is one signal. */
const ONE_INTERRUPT_MS = 1000

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** A mistake of the user that only the command line knows of. `message` says the cause and the way out. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** What a command gets beside its own options. */
export interface Run {
  terminal: Terminal
  /** Aborts at the first SIGINT, SIGTERM or SIGHUP, or when nobody reads stdout any more; a second signal ends the process at once. */
  signal: AbortSignal
}

/** A command with the options that all have, and an example in its help. */
export function command (name: string, description: string, example: string): Command {
  return new Command(name)
    .description(description)
    .option('--json', 'one JSON object a line on stdout, everything else on stderr')
    .option('--quiet', 'errors only')
    .addHelpText('after', `\nExample:\n  $ ${example}\n`)
    .showHelpAfterError('(add --help for the options and an example)')
}

/**
 * Makes a command's body an action: signals abort it, errors become one sentence and a non-zero exit code.
 * `interrupted` is the exit code of a body that a signal cut short.
 */
export function action<T extends OutputOptions> (body: (options: T, run: Run) => Promise<void>, interrupted = INTERRUPTED): (options: T) => Promise<void> {
  return async options => {
    const terminal = new Terminal(options)
    const abort = new AbortController()
    let interruptedAt = -Infinity
    const interrupt = (): void => {
      if (abort.signal.aborted && performance.now() - interruptedAt > ONE_INTERRUPT_MS) process.exit(INTERRUPTED)
      interruptedAt = performance.now()
      abort.abort()
    }
    const unread = (error: NodeJS.ErrnoException): void => {
      if (error.code !== 'EPIPE') throw error
      abort.abort()
    }
    for (const signal of SIGNALS) process.on(signal, interrupt)
    process.stdout.on('error', unread)
    try {
      await body(options, { terminal, signal: abort.signal })
    } catch (error) {
      terminal.endProgress()
      const cutShort = abort.signal.aborted && isAbort(error, abort.signal)
      process.exitCode = cutShort ? interrupted : 1
      if (!cutShort) report(terminal, error)
    } finally {
      terminal.endProgress()
      for (const signal of SIGNALS) process.off(signal, interrupt)
    }
  }
}

function isAbort (error: unknown, signal: AbortSignal): boolean {
  return error === signal.reason || isSwarmError(error, 'aborted') || (error instanceof Error && error.name === 'AbortError')
}

function report (terminal: Terminal, error: unknown): void {
  const message = error instanceof Error ? error.message : String(error)
  const coded = error instanceof ModelError ? error : asSwarmError(error)
  const known = coded !== undefined || error instanceof UsageError
  const code = coded?.code ?? (known ? 'usage' : 'internal')
  terminal.event('error', { code, message })
  process.stderr.write(`moeswarm: ${message}\n`)
  if (!known && error instanceof Error) process.stderr.write(`This is a defect of moeswarm; please report it with these lines:\n${error.stack ?? ''}\n`)
}

/** Runs `program` on the process's arguments. Usage errors exit with 2. */
export async function runProgram (program: Command): Promise<void> {
  program.exitOverride()
  for (const sub of program.commands) {
    sub.exitOverride()
    for (const leaf of sub.commands) leaf.exitOverride()
  }
  try {
    await program.parseAsync()
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    process.exitCode = error.exitCode === 0 ? 0 : 2
  }
  // Everything is closed by now, but a stopped libp2p host keeps a timer of a second (address manager, libp2p 3.3.11).
  process.stdout.write('', () => process.stderr.write('', () => process.exit()))
}

/** Option parsers; commander names the option and the value in the error. */
export const parse = {
  /** Whole numbers from `min` on. */
  count: (min: number) => (value: string): number => {
    const n = Number(value)
    if (!/^\d+$/.test(value) || !Number.isSafeInteger(n) || n < min) throw new InvalidArgumentError(`It is a whole number from ${min} on.`)
    return n
  },
  /** Numbers from `min` (excluded where `above`) to `max`. */
  number: (min: number, max = Infinity, above = false) => (value: string): number => {
    const n = Number(value)
    if (value.trim() === '' || !Number.isFinite(n) || n < min || n > max || (above && n === min)) {
      throw new InvalidArgumentError(`It is a number ${above ? 'above' : 'from'} ${min}${max === Infinity ? ' on' : ` to ${max}`}.`)
    }
    return n
  },
  /** Bytes, with a binary or decimal unit: 4GiB, 500MB. */
  bytes: (value: string): number => {
    const match = /^(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B?)?$/i.exec(value.trim())
    if (match === null) throw new InvalidArgumentError('It is a size such as 4GiB or 500MB.')
    const power = match[2] === undefined ? 0 : 1 + 'KMGT'.indexOf(match[2].toUpperCase())
    return Math.floor(Number(match[1]) * (match[3] === '' ? 1000 : 1024) ** power)
  },
  /** For options that may be given several times. */
  collect: (value: string, before: string[] | undefined): string[] => [...before ?? [], value]
}
