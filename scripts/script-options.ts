import { basename, dirname } from 'node:path'
import { parseArgs, type ParseArgsConfig } from 'node:util'

type Described = NonNullable<ParseArgsConfig['options']>
type Values<T extends Described> = ReturnType<typeof parseArgs<{ options: T & { json: { type: 'boolean', default: false } } }>>['values']

/** The options of an npm script, with --json. --help prints `help` and ends the process with 0; an option that there is not ends it with 2. */
export function scriptOptions<const T extends Described> (help: string, options: T): Values<T> {
  try {
    const { values } = parseArgs({ options: { ...options, json: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h', default: false } } })
    if ((values as { help: boolean }).help) {
      process.stdout.write(help)
      process.exit(0)
    }
    return values as unknown as Values<T>
  } catch (error) {
    return wrongUse((error as Error).message)
  }
}

/** An option's value as a count above zero. Anything else ends the process with 2. */
export function count (name: string, text: string): number {
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : wrongUse(`--${name} takes counts above zero, not "${text}".`)
}

/** An option's value as one of a few names. Anything else ends the process with 2. */
export function oneOf<T extends string> (name: string, text: string, names: readonly T[]): T {
  return names.find(candidate => candidate === text) ?? wrongUse(`--${name} takes ${names.join(', ')}, not "${text}".`)
}

/** Says what is wrong with the command line and ends the process with 2. */
export function wrongUse (problem: string): never {
  const name = basename(process.argv[1], '.js')
  process.stderr.write(`${name === 'main' ? basename(dirname(process.argv[1])) : name}: ${problem.replace(/[^.]$/, '$&.')} See --help.\n`)
  process.exit(2)
}
