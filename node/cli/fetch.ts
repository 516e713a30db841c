import { type Command, Option } from 'commander'
import { type BundlePart, counted, fetchBundle, formatRanges, known } from '../index.js'
import { action, command, parse, UsageError } from './command.js'
import { Log } from './log.js'
import { logEvents } from './swarm-events.js'
import { swarmKeyOf, type SwarmKeyOptions, withSwarmKey } from './swarm-options.js'
import { type OutputOptions } from './terminal.js'

interface FetchOptions extends OutputOptions, SwarmKeyOptions {
  out?: string
  part: BundlePart
  layers?: string
  experts?: string
  bootstrap?: string[]
}

export function fetchCommand (): Command {
  return withSwarmKey(command('fetch', 'Get a model, or a part of it, from the peers that have it.', 'moeswarm fetch gemma4 --part client --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW...')
    .argument('<model>', 'its name, or the beginning of that, such as gemma4, or its id or the beginning of that: `moeswarm peer` and `moeswarm models` print both')
    .option('--out <bundle dir>', 'where the bundle is written; what is there already is kept (default: under ~/.local/share/moeswarm, where every command finds it by its name)')
    .addOption(new Option('--part <part>', 'client: what generate needs; experts: what a peer needs').choices(['client', 'experts', 'all']).default('client'))
    .option('--layers <ranges>', 'of the experts, those of these layers, such as 0-5,7 (default: all)')
    .option('--experts <ranges>', 'of the experts, these of each layer, whole blocks such as 0-15 (default: all)')
    .option('--bootstrap <multiaddr>', 'a host that is in the swarm, may be repeated', parse.collect))
    .action(async (model: string, options: FetchOptions) => {
      await action<FetchOptions>(async (settings, { terminal, signal }) => {
        if (settings.part === 'client' && (settings.layers !== undefined || settings.experts !== undefined)) throw new UsageError('--layers and --experts go with --part experts or all.')
        if (settings.bootstrap === undefined) throw new UsageError('No swarm to fetch from: name a host in it with --bootstrap.')
        const show = terminal.progress('Fetching', 'bytes')
        const bundle = await fetchBundle({
          ...settings, model, bootstrap: settings.bootstrap, swarmKey: await swarmKeyOf(settings), signal,
          onProgress: ({ doneBytes, totalBytes }) => { show(doneBytes, totalBytes) },
          onEvent: logEvents(Log.plain(terminal))
        })
        terminal.endProgress()
        const here = (await bundle.heldBlocks()).map(block => block.layer)
        terminal.event('done', { model: bundle.id, name: known(bundle).name, out: bundle.dir, blocks: here.length })
        const blocks = here.length === 0 ? '' : `${settings.part === 'experts' ? '' : ' and '}${here.length} of ${counted(bundle.blocks.length, 'block')}, layers ${formatRanges([...new Set(here)])}`
        terminal.note(`Bundle ${bundle.dir}: of ${known(bundle).name}, model ${bundle.id.slice(0, 12)}, ${settings.part === 'experts' ? '' : 'the client part'}${blocks}.`)
      })(options)
    })
}
