import { type Command, Option, Argument } from 'commander'
import { action, command } from './command.js'
import { leaves, pathOf } from './settings.js'
import { bashScript } from './completion/bash.js'
import { fishScript } from './completion/fish.js'
import type { CompletedCommand } from './completion/tree.js'
import { zshScript } from './completion/zsh.js'
import type { OutputOptions } from './terminal.js'

const SHELLS = { bash: bashScript, zsh: zshScript, fish: fishScript }

/** What `--help` cannot say in a line. */
const NOTES = `
To have it in every shell from now on:
  bash  echo 'source <(moeswarm completion bash)' >> ~/.bashrc
  zsh   echo 'source <(moeswarm completion zsh)' >> ~/.zshrc     (after compinit)
  fish  moeswarm completion fish > ~/.config/fish/completions/moeswarm.fish`

export function completionCommand (): Command {
  return command('completion', 'Print a script that completes commands, options and their values in your shell.', 'source <(moeswarm completion bash)')
    .addArgument(new Argument('<shell>', 'your shell').choices(Object.keys(SHELLS)))
    .addHelpText('after', NOTES)
    .action(async (shell: keyof typeof SHELLS, options: OutputOptions, self: Command) => {
      await action<OutputOptions>(async (_, { terminal }) => {
        const script = SHELLS[shell](completedTree(self.parent!))
        terminal.event('script', { shell, script })
        terminal.result(script)
      })(options)
    })
}

/** What there is to complete: every command with its options, read off the program itself. */
function completedTree (program: Command): CompletedCommand[] {
  const groups = program.commands.filter(one => one.commands.length > 0)
  return [program, ...groups, ...leaves(program)].map(one => ({
    path: pathOf(one),
    description: one.description(),
    commands: one.commands.map(sub => ({ name: sub.name(), description: sub.description() })),
    options: [...one.options, new Option('--help', 'what this does, with an example')].map(option => ({
      flag: option.long!, description: option.description, takesValue: option.required || option.optional, choices: option.argChoices ?? []
    })),
    words: one.registeredArguments.flatMap(argument => argument.argChoices ?? [])
  }))
}
