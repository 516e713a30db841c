import { type Command, InvalidArgumentError, type Option } from 'commander'
import { parse, UsageError } from './command.js'
import { nearest } from './nearest.js'
import { isObject, readSettingsFiles, type SettingsFile } from './settings-files.js'

/** Where an option's value comes from when the command line does not give it. */
export interface Setting {
  /** Checked and converted as the flag's argument is; undefined for nothing. */
  value: unknown
  /** `env MOESWARM_...`, a file and the key in it, or 'default'. */
  source: string
}

/** Options that no file or variable sets: they ask for something else than the command's work. */
const FLAGS_ONLY = new Set(['help', 'version', 'config'])

/** A shell that starts reads their output, in whatever directory it is. */
const WITHOUT_SETTINGS = new Set(['completion'])

/** The one place that knows environment variables and configuration files, for all commands: flag > environment > file > default. */
export class Settings {
  private constructor (private readonly program: Command, private readonly files: SettingsFile[], private readonly env: NodeJS.ProcessEnv) {}

  /** Files that count, the nearer first. */
  get paths (): string[] { return this.files.map(file => file.path) }

  /**
   * Reads the files and checks that every key of theirs is an option of a command.
   * @param file - counts alone when it is given; else MOESWARM_CONFIG, else the files of `readSettingsFiles`
   * @throws UsageError that names the file, the key and the nearest name
   */
  static read (program: Command, file: string | undefined, env: NodeJS.ProcessEnv = process.env): Settings {
    const files = readSettingsFiles(file ?? (env.MOESWARM_CONFIG || undefined), env)
    for (const { path, values } of files) checkSection(program, values, path, [])
    return new Settings(program, files, env)
  }

  /** Variables whose names start like ours but belong to no option: most likely misspelt. */
  unknownVariables (): Array<{ name: string, nearest: string | undefined }> {
    const known = ['MOESWARM_CONFIG', ...optionsBelow(this.program).map(variableOf)]
    return Object.keys(this.env).filter(name => name.startsWith('MOESWARM_') && !known.includes(name)).map(name => ({ name, nearest: nearest(name, known) }))
  }

  /** What the option gets without a flag. @throws UsageError for a value that the flag would not take either */
  of (command: Command, option: Option): Setting {
    const variable = variableOf(option)
    const text = this.env[variable]
    if (text !== undefined && text !== '') return { value: fromVariable(option, text, variable), source: `env ${variable}` }
    for (const { path, values } of this.files) {
      // A command's own section before what is for all commands.
      for (const section of sectionsOf(command)) {
        const holder = section.reduce<unknown>((at, name) => isObject(at) ? at[name] : undefined, values)
        const key = keyOf(option)
        // An object is the section of a command that is called like the option.
        if (!isObject(holder) || !Object.hasOwn(holder, key) || isObject(holder[key])) continue
        const source = `${path}: ${[...section, key].join('.')}`
        return { value: fromFile(option, holder[key], source), source }
      }
    }
    return { value: option.defaultValue, source: 'default' }
  }
}

/**
 * Makes `program` take what its command line does not give from the environment and from configuration files. The files are read
 * when a command is about to run, so --help and --version work with a broken one.
 */
export function useSettings (program: Command): void {
  for (const command of leaves(program)) {
    for (const option of command.options) {
      // Commander looks for mandatory options before the hook that could fill them in, so that is checked there.
      if (option.mandatory) option.description = `${option.description} (required)`
    }
  }
  const mandatory = new Set(leaves(program).flatMap(command => command.options.filter(option => option.mandatory)))
  for (const option of mandatory) option.makeOptionMandatory(false)
  program.hook('preAction', (_, command) => {
    if (WITHOUT_SETTINGS.has(command.name())) return
    try {
      const settings = Settings.read(program, program.opts<{ config?: string }>().config)
      for (const option of command.options) {
        const name = option.attributeName()
        if (command.getOptionValueSource(name) === 'cli' || FLAGS_ONLY.has(keyOf(option))) continue
        const { value, source } = settings.of(command, option)
        if (source !== 'default' && value !== undefined) command.setOptionValueWithSource(name, value, source.startsWith('env ') ? 'env' : 'config')
      }
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      command.error(`error: ${error.message}`, { code: 'moeswarm.settings' })
    }
    const missing = command.options.find(option => mandatory.has(option) && command.getOptionValue(option.attributeName()) === undefined)
    if (missing !== undefined) command.error(`error: required option '${missing.flags}' not specified, nor ${variableOf(missing)}, nor ${JSON.stringify(keyOf(missing))} in a configuration file`, { code: 'commander.missingMandatoryOptionValue' })
  })
}

/** The commands that do something, not those that only group others. */
export function leaves (program: Command): Command[] {
  return program.commands.flatMap(command => command.commands.length > 0 ? leaves(command) : [command])
}

/** `dht peers` for that command. */
export function pathOf (command: Command): string[] {
  return command.parent === null ? [] : [...pathOf(command.parent), command.name()]
}

/** An option's name in files: the long flag, without 'no-' where it only says no. */
export function keyOf (option: Option): string {
  const name = option.long?.replace(/^--/, '') ?? option.name()
  return option.negate ? name.replace(/^no-/, '') : name
}

export function variableOf (option: Option): string {
  return `MOESWARM_${keyOf(option).replaceAll('-', '_').toUpperCase()}`
}

/** Where files may hold options of a command: ['dht', 'peers'], ['dht'], []. */
function sectionsOf (command: Command): string[][] {
  const path = pathOf(command)
  return [...path.keys(), path.length].reverse().map(length => path.slice(0, length))
}

function optionsBelow (command: Command): Option[] {
  const own = command.commands.length > 0 ? [] : command.options
  return [...own, ...command.commands.flatMap(optionsBelow)].filter(option => !FLAGS_ONLY.has(keyOf(option)))
}

/** Keys of a section: options of the commands below it, and names of those commands. */
function checkSection (command: Command, values: Record<string, unknown>, path: string, at: string[]): void {
  const known = new Set(['$schema', ...optionsBelow(command).map(keyOf), ...command.commands.map(sub => sub.name())])
  for (const [key, value] of Object.entries(values)) {
    const name = [...at, key].join('.')
    if (!known.has(key)) {
      const near = nearest(key, [...known])
      throw new UsageError(`${path}: ${JSON.stringify(name)} is no option${at.length > 0 ? ` of ${at.join(' ')}` : ' of any command'}${near === undefined ? '' : `; did you mean ${JSON.stringify(near)}?`}`)
    }
    const sub = command.commands.find(one => one.name() === key)
    if (!isObject(value)) continue
    if (sub === undefined) throw new UsageError(`${path}: ${JSON.stringify(name)} is an option and not a command: it takes a value and no object.`)
    checkSection(sub, value, path, [...at, key])
  }
}

function fromVariable (option: Option, text: string, variable: string): unknown {
  if (!option.required) {
    if (/^(1|true|yes|on)$/i.test(text)) return true
    if (/^(0|false|no|off)$/i.test(text)) return false
    if (!option.optional) throw new UsageError(`${variable} is true or false, not ${JSON.stringify(text)}.`)
  }
  return parsed(option, isRepeated(option) ? text.split(/[\s,]+/).filter(part => part !== '') : [text], variable)
}

function fromFile (option: Option, value: unknown, where: string): unknown {
  if (!option.required) {
    if (typeof value === 'boolean') return value
    if (!option.optional) throw new UsageError(`${where} is true or false, not ${JSON.stringify(value)}.`)
  }
  const values = isRepeated(option) && Array.isArray(value) ? value as unknown[] : [value]
  if (values.some(one => typeof one !== 'string' && typeof one !== 'number')) throw new UsageError(`${where} is a string or a number${isRepeated(option) ? ', or a list of them' : ''}, not ${JSON.stringify(value)}.`)
  return parsed(option, values.map(String), where)
}

/** Through the parser of the flag, so that files and variables take what it takes and fail as it fails. */
function parsed (option: Option, texts: string[], where: string): unknown {
  const take = option.parseArg as ((text: string, before: unknown) => unknown) | undefined
  try {
    return texts.reduce<unknown>((before, text) => take === undefined ? text : take(text, before), undefined)
  } catch (error) {
    if (error instanceof InvalidArgumentError) throw new UsageError(`${where}: ${JSON.stringify(texts.join(' '))} will not do. ${error.message}`)
    throw error
  }
}

/** Options that may be given several times have a parser that adds to what is there. */
function isRepeated (option: Option): boolean {
  return option.parseArg === parse.collect
}
