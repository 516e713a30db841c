import type { Command } from 'commander'
import { action, command, UsageError } from './command.js'
import { keyOf, leaves, pathOf, Settings } from './settings.js'
import { PROJECT_FILES, userFile } from './settings-files.js'
import { type OutputOptions, table } from './terminal.js'

/** What `--help` cannot say in a line. */
const NOTES = `
Every option can also be set in a configuration file or by an environment variable. What is nearer wins: the flag, then the variable, then
${PROJECT_FILES.join(' or ')} in the working directory, then $XDG_CONFIG_HOME/moeswarm/config.json (by default below ~/.config),
then the default. --config <file> or MOESWARM_CONFIG names one file that counts alone.

Keys are the names of the flags; those of a command alone go into an object of its name. Comments are allowed:
  {
    "bootstrap": ["/ip4/192.0.2.7/tcp/4001/p2p/12D3KooW..."],   // for all commands
    "peer": { "donate": "4GiB", "client-part": false }          // --no-client-part
  }
Variables are MOESWARM_ and the flag in capitals: MOESWARM_BOOTSTRAP (several separated by blanks), MOESWARM_MAX_TOKENS, MOESWARM_QUIET=1.`

/** Options whose values are not for screens and logs. */
const SECRET = /(^|-)(api-key|token|secret|password|passphrase)$/

export function configCommand (): Command {
  return command('config', 'Show the values that options get without flags, and where each comes from.', 'moeswarm config peer --quiet')
    .argument('[command...]', 'show the options of this command only, such as dht peers')
    .addHelpText('after', NOTES)
    .action(async (words: string[], options: OutputOptions, self: Command) => {
      await action<OutputOptions>(async (_, { terminal }) => {
        const program = self.parent!
        const settings = Settings.read(program, program.opts<{ config?: string }>().config)
        const chosen = leaves(program).filter(leaf => words.every((word, i) => pathOf(leaf)[i] === word))
        if (chosen.length === 0) throw new UsageError(`There is no command ${words.join(' ')}: moeswarm --help lists them.`)
        const rows = chosen.flatMap(leaf => leaf.options.flatMap(option => {
          const { value, source } = settings.of(leaf, option)
          if (value === undefined) return []
          return [{ command: pathOf(leaf).join(' '), option: keyOf(option), value: SECRET.test(keyOf(option)) ? '(hidden)' : value, source }]
        }))
        for (const row of rows) terminal.event('option', row)
        for (const { name, nearest } of settings.unknownVariables()) terminal.note(`${name} sets no option${nearest === undefined ? '' : `; did you mean ${nearest}?`}`)
        terminal.note(settings.paths.length === 0 ? `No configuration file: neither ${PROJECT_FILES.join(' nor ')} here nor ${userFile()}.` : `Read ${settings.paths.join(' and ')}.`)
        terminal.result(`${table(['command', 'option', 'value', 'from'], rows.map(row => [row.command, row.option, shown(row.value), row.source]))}\n`)
      })(options)
    })
}

function shown (value: unknown): string {
  return Array.isArray(value) ? value.join(' ') : String(value)
}
