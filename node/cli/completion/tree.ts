/** A command as a shell completes it. */
export interface CompletedCommand {
  /** ['dht', 'peers']; empty for the program itself. */
  path: string[]
  description: string
  /** Commands below it. */
  commands: Array<{ name: string, description: string }>
  options: CompletedOption[]
  /** What its arguments may be, where that is a fixed list. */
  words: string[]
}

export interface CompletedOption {
  /** With its dashes. */
  flag: string
  description: string
  takesValue: boolean
  /** What the value may be; empty for anything. */
  choices: string[]
}

/** '/dht/peers', as the scripts keep it while they walk over the words of a line. */
export function location (path: string[]): string {
  return path.map(name => `/${name}`).join('')
}

/** The locations of all commands but the program itself, each in quotes. */
export function locations (commands: CompletedCommand[]): string[] {
  return commands.filter(({ path }) => path.length > 0).map(({ path }) => quoted(location(path)))
}

/** Options with a value, by what is to be completed behind them: one of `choices`, or a file. */
export function valueOptions (commands: CompletedCommand[]): Array<{ at: string, flag: string, choices: string[] }> {
  return commands.flatMap(({ path, options }) => options.filter(option => option.takesValue).map(({ flag, choices }) => ({ at: location(path), flag, choices })))
}

/** In single quotes, as bash and zsh read them. */
export function quoted (text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
