import type { Command } from 'commander'
import { type BlockEntry, Bundle, createSwarmHost, isModelId, SwarmInspector } from '../index.js'
import { command, parse, type Run, UsageError } from './command.js'
import { Log } from './log.js'
import { logEvents } from './swarm-events.js'
import { swarmKeyOf, type SwarmKeyOptions, withSwarmKey } from './swarm-options.js'
import type { OutputOptions } from './terminal.js'

export interface InspectionOptions extends OutputOptions, SwarmKeyOptions {
  bootstrap?: string[]
  model?: string
}

/** A model as the inspector knows it: its id, and its blocks where a bundle tells them. */
export interface InspectedModel {
  id: string
  blocks?: BlockEntry[]
}

/** A command below `moeswarm dht`. */
export function inspection (name: string, description: string, example: string): Command {
  return withSwarmKey(command(name, description, `moeswarm dht ${name} ${example}${example === '' ? '' : ' '}--bootstrap /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW...`)
    .option('--bootstrap <multiaddr>', 'a host that is in the swarm, may be repeated', parse.collect)
    .option('--model <bundle dir or model id>', 'model to look for'))
}

export async function withInspector (options: InspectionOptions, { terminal, signal }: Run, use: (inspector: SwarmInspector, peerId: string) => Promise<void>): Promise<void> {
  if (options.bootstrap === undefined) throw new UsageError('No swarm to look into: name a host in it with --bootstrap.')
  const host = await createSwarmHost({ dht: 'client', bootstrap: options.bootstrap, swarmKey: await swarmKeyOf(options), signal, onEvent: logEvents(Log.plain(terminal)) })
  try {
    await use(new SwarmInspector(host), host.peerId)
  } finally {
    await host.stop()
  }
}

export async function modelOf ({ model }: InspectionOptions): Promise<InspectedModel> {
  if (model === undefined) throw new UsageError('No model: name a bundle directory or a model id with --model.')
  if (isModelId(model)) return { id: model }
  const bundle = await Bundle.open(model)
  return { id: bundle.id, blocks: bundle.blocks }
}
