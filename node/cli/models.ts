import type { Command } from 'commander'
import { createSwarmHost, formatBytes, keptModels, known, modelsDirectory, servedModels } from '../index.js'
import { action, command, parse } from './command.js'
import { swarmKeyOf, type SwarmKeyOptions, withSwarmKey } from './swarm-options.js'
import { type OutputOptions, table } from './terminal.js'

interface ModelsOptions extends OutputOptions, SwarmKeyOptions {
  bootstrap?: string[]
}

/** What `--help` cannot say in a line. */
const NOTES = `
Every command takes a model by its name or the beginning of it (gemma4), by its id or the first digits of it, or by the name of its directory; with a / it is a
path. A name says family, parameters and weight format; models of one shape have the same, and their ids tell them apart.`

export function modelsCommand (): Command {
  return withSwarmKey(command('models', 'The models that are kept here, and those of a swarm, with their names.', 'moeswarm models --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW...')
    .option('--bootstrap <multiaddr>', 'a host in a swarm that is asked what it serves, may be repeated', parse.collect))
    .addHelpText('after', NOTES)
    .action(action<ModelsOptions>(async (options, { terminal, signal }) => {
      const rows: string[][] = []
      for (const bundle of await keptModels()) {
        const files = Object.entries(bundle.manifest.files)
        const here = (await Promise.all(files.map(async ([file, { bytes }]) => await bundle.has(file) ? [bytes] : []))).flat()
        const client = await bundle.hasClientPart()
        const blocks = (await bundle.heldBlocks()).length
        const bytes = here.reduce((sum, size) => sum + size, 0)
        const { id, name = '', dir } = known(bundle)
        terminal.event('model', { id, name, dir, bytes, client, blocks, allBlocks: bundle.blocks.length })
        rows.push([name, id.slice(0, 12), `${client ? 'client part, ' : ''}${blocks} of ${bundle.blocks.length} blocks, ${formatBytes(bytes)}`, dir ?? ''])
      }
      if (options.bootstrap !== undefined) {
        const host = await createSwarmHost({ dht: 'client', bootstrap: options.bootstrap, swarmKey: await swarmKeyOf(options), signal })
        try {
          for (const { id, name } of await servedModels(host, { signal })) {
            terminal.event('served', { id, name })
            rows.push([name ?? '', id.slice(0, 12), 'in the swarm', ''])
          }
        } finally {
          await host.stop()
        }
      }
      if (rows.length > 0) terminal.result(`${table(['name', 'id', 'here', 'directory'], rows)}\n`)
      else terminal.note(`No model is kept in ${modelsDirectory()}: get one with moeswarm fetch, or name a swarm with --bootstrap.`)
    }))
}
