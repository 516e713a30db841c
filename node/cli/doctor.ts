import type { Command } from 'commander'
import colors from 'picocolors'
import { Doctor, type Finding, modelsDirectory } from '../index.js'
import { action, command, parse } from './command.js'
import { namedModel } from './inspected-swarm.js'
import { swarmKeyOf, type SwarmKeyOptions, withSwarmKey } from './swarm-options.js'
import type { OutputOptions } from './terminal.js'

interface DoctorOptions extends OutputOptions, SwarmKeyOptions {
  bootstrap?: string[]
  model?: string
  listen: string
  dir?: string
  threads?: number
  measure: boolean
}

const MARKS: Record<Finding['status'], string> = { ok: colors.green('✓'), warn: colors.yellow('!'), bad: colors.red('✗'), unknown: colors.dim('?') }

export function doctorCommand (): Command {
  return withSwarmKey(command('doctor', 'Say what this machine can do for a swarm, and what to do about what it cannot.', 'moeswarm doctor --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW... --model 9f2c...')
    .option('--bootstrap <multiaddr>', 'a host of the swarm that is asked how it sees this machine, may be repeated', parse.collect)
    .option('--model <name, id or bundle dir>', 'model whose peers are asked for their clocks (default: the one that the bootstrap host serves)')
    .option('--listen <multiaddr>', 'address that a peer would listen on', '/ip4/0.0.0.0/tcp/4001')
    .option('--dir <dir>', 'where models would be kept (default: under ~/.local/share/moeswarm)')
    .option('--threads <n>', 'threads to measure with (default: all cores)', parse.count(1))
    .option('--no-measure', 'leave out what takes all cores for some seconds'))
    .action(action<DoctorOptions>(async ({ model, dir = modelsDirectory(), ...options }, { terminal, signal }) => {
      const named = await namedModel(model)
      let bad = 0
      for await (const finding of new Doctor({ ...options, swarmKey: await swarmKeyOf(options), dir, model: 'id' in named ? named.id : named.called, signal }).examine()) {
        if (finding.status === 'bad') bad++
        terminal.event('finding', finding)
        terminal.result(`${MARKS[finding.status]} ${colors.bold(finding.check.padEnd(10))} ${finding.found}\n${finding.advice === undefined ? '' : `  ${' '.repeat(10)} ${colors.dim(`→ ${finding.advice}`)}\n`}`)
      }
      if (bad > 0) process.exitCode = 1
    }))
}
