import type { Command } from 'commander'
import { createSwarmKey, writeSwarmKey } from '../index.js'
import { action, command } from './command.js'
import type { OutputOptions } from './terminal.js'

export function swarmKeyCommand (): Command {
  return command('swarm-key', 'Create the key of a private swarm: who has it is in, nobody else gets anything.', 'moeswarm swarm-key --out swarm.key && moeswarm peer --model ./demo.bundle --swarm-key swarm.key')
    .option('--out <file>', 'where the key is written, readable by its owner only (default: stdout)')
    .action(action<OutputOptions & { out?: string }>(async ({ out }, { terminal }) => {
      if (out === undefined) {
        const key = createSwarmKey()
        terminal.result(key)
        terminal.event('swarm-key', { key })
        return
      }
      await writeSwarmKey(out)
      terminal.event('swarm-key', { file: out })
      terminal.note(`Wrote ${out}: give it to every member over a safe way, and start all commands with --swarm-key ${out}.`)
    }))
}
