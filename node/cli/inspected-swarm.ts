import type { Command } from 'commander'
import { type BlockEntry, createSwarmHost, isModelId, isNotFound, isPath, openModel, servedModel, type SwarmHost, SwarmInspector } from '../index.js'
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
    .option('--model <name, id or bundle dir>', 'model to look for; a name as `moeswarm models` shows it or the beginning of an id will do where the bootstrap host serves it (default: its only one)'))
}

/** As `withInspector`, with the model that the options name, or that the bootstrap host serves. */
export async function withModel (options: InspectionOptions, run: Run, use: (inspector: SwarmInspector, model: InspectedModel, peerId: string) => Promise<void>): Promise<void> {
  const named = await namedModel(options.model)
  await withInspector(options, run, async (inspector, peerId, host) => {
    if ('id' in named) return await use(inspector, named, peerId)
    const { id, name } = await servedModel(host, named.called, run)
    run.terminal.note(`Model ${name === undefined ? '' : `${name}, `}${id}`)
    await use(inspector, { id }, peerId)
  })
}

export async function withInspector (options: InspectionOptions, { terminal, signal }: Run, use: (inspector: SwarmInspector, peerId: string, host: SwarmHost) => Promise<void>): Promise<void> {
  if (options.bootstrap === undefined) throw new UsageError('No swarm to look into: name a host in it with --bootstrap.')
  const host = await createSwarmHost({ dht: 'client', bootstrap: options.bootstrap, swarmKey: await swarmKeyOf(options), signal, onEvent: logEvents(Log.plain(terminal)) })
  try {
    await use(new SwarmInspector(host), host.peerId, host)
  } finally {
    await host.stop()
  }
}

/** What --model says: a bundle's directory, a kept model, an id, or what the swarm's hosts may know. @throws ModelError for a directory that holds no bundle */
export async function namedModel (model: string | undefined): Promise<InspectedModel | { called: string | undefined }> {
  if (model === undefined) return { called: undefined }
  try {
    const bundle = await openModel(model)
    return { id: bundle.id, blocks: bundle.blocks }
  } catch (error) {
    if (!isNotFound(error) || isPath(model)) throw error
    return isModelId(model) ? { id: model } : { called: model }
  }
}
