import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { parse, type ParseError, printParseErrorCode } from 'jsonc-parser'
import { UsageError } from './command.js'

/** What a configuration file holds, unchecked. */
export interface SettingsFile {
  path: string
  values: Record<string, unknown>
}

/** Looked for in the working directory, in this order; the first that is there counts. Both forms may have comments. */
export const PROJECT_FILES = ['moeswarm.config.json', 'moeswarm.config.jsonc']

/** $XDG_CONFIG_HOME/moeswarm/config.json, or that below ~/.config. */
export function userFile (env: NodeJS.ProcessEnv = process.env): string {
  return join(env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'moeswarm', 'config.json')
}

/**
 * The configuration files that count, the nearer first: `named` alone when it is given, else that of the working directory and that of the user.
 * @throws UsageError for a file that cannot be read or is no JSON object
 */
export function readSettingsFiles (named: string | undefined, env: NodeJS.ProcessEnv = process.env): SettingsFile[] {
  if (named !== undefined) {
    const file = readSettingsFile(resolve(named))
    if (file === undefined) throw new UsageError(`There is no configuration file ${named}.`)
    return [file]
  }
  const project = PROJECT_FILES.map(name => readSettingsFile(resolve(name))).find(file => file !== undefined)
  return [project, readSettingsFile(userFile(env))].filter(file => file !== undefined)
}

function readSettingsFile (path: string): SettingsFile | undefined {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw new UsageError(`The configuration file ${path} cannot be read (${code}).`)
  }
  const errors: ParseError[] = []
  const values: unknown = parse(text.replace(/^\uFEFF/, ''), errors, { allowTrailingComma: true })
  if (errors.length > 0) {
    const before = text.slice(0, errors[0].offset).split('\n')
    throw new UsageError(`The configuration file ${path} is no JSON: ${printParseErrorCode(errors[0].error)} at line ${before.length}, column ${before.at(-1)!.length + 1}.`)
  }
  if (!isObject(values)) throw new UsageError(`The configuration file ${path} must hold an object such as { "bootstrap": ["/ip4/..."], "peer": { "donate": "4GiB" } }.`)
  return { path, values }
}

export function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
