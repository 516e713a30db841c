import type { Command } from 'commander'
import { liarRecord, type Proof } from '../index.js'
import { action, command, UsageError } from './command.js'
import { stateDirectory } from './state-directory.js'
import { type OutputOptions, table } from './terminal.js'

interface LiarsOptions extends OutputOptions {
  forget?: string
  forgetAll?: boolean
}

export function liarsCommand (): Command {
  return command('liars', 'Show the peers that were caught giving wrong replies and are asked nothing any more, with the proofs.', 'moeswarm liars --forget 12D3KooW...')
    .option('--forget <peer id>', 'ask this peer again from now on')
    .option('--forget-all', 'ask all of them again')
    .action(action<LiarsOptions>(async ({ forget, forgetAll }, { terminal }) => {
      const record = liarRecord(stateDirectory())
      if (forget !== undefined || forgetAll === true) {
        if (!await record.forget(forgetAll === true ? undefined : forget) && forgetAll !== true) throw new UsageError(`${forget} is not among the peers that lied: moeswarm liars lists them.`)
        terminal.note(forgetAll === true ? 'All are asked again.' : `${forget} is asked again.`)
        return
      }
      const proofs = await record.read()
      for (const proof of proofs) terminal.event('liar', proof)
      if (proofs.length === 0) terminal.note(`No peer was caught lying (${record.file}).`)
      else terminal.result(`${table(['peer', 'caught', 'layer', 'experts', 'apart', 'honest at most', 'against', 'request'], proofs.map(rowOf))}\n`)
    }))
}

function rowOf ({ peerId, at, layer, experts, deviation, tolerance, against, requestSha256 }: Proof): string[] {
  const share = (of: number): string => `${(100 * of).toPrecision(2)} %`
  return [peerId, at, String(layer), experts.join(' '), share(deviation), share(tolerance), against.map(({ peerId }) => peerId).join(' '), requestSha256.slice(0, 12)]
}
