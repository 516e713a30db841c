import type { Command } from 'commander'
import { type BlockEntry, Bundle, createSwarmHost, isModelId, ModelError, SwarmInspector } from '../index.js'
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
    .option('--model <bundle dir or model id>', 'model to look for; the beginning of an id will do where the bootstrap host serves it (default: its only one)'))
}

/** As `withInspector`, with the model that the options name, or that the bootstrap host serves. */
export async function withModel (options: InspectionOptions, run: Run, use: (inspector: SwarmInspector, model: InspectedModel, peerId: string) => Promise<void>): Promise<void> {
  const named = await namedModel(options.model)
  await withInspector(options, run, async (inspector, peerId) => {
    if ('id' in named) return await use(inspector, named, peerId)
    const id = await inspector.modelStartingWith(named.beginning, run)
    run.terminal.note(`Model ${id}`)
    await use(inspector, { id }, peerId)
  })
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

/** What --model says: a model, or how its id begins. @throws ModelError for what is neither an id nor a bundle's directory */
export async function namedModel (model: string | undefined): Promise<InspectedModel | { beginning: string }> {
  if (model === undefined) return { beginning: '' }
  if (isModelId(model)) return { id: model }
  try {
    const bundle = await Bundle.open(model)
    return { id: bundle.id, blocks: bundle.blocks }
  } catch (error) {
    if (error instanceof ModelError && error.code === 'not-found' && /^[0-9a-f]{4,63}$/.test(model)) return { beginning: model }
    throw error
  }
}
