import { Command } from 'commander'
import colors from 'picocolors'
import { formatRanges, type InspectedPeer, type LookupHop, type SwarmInspector } from '../index.js'
import { action, parse, type Run, UsageError } from './command.js'
import { coverageMapText } from './coverage-map.js'
import { watchCommand } from './dht-watch.js'
import { type InspectedModel, inspection, type InspectionOptions, withInspector, withModel } from './inspected-swarm.js'
import { lookupTree } from './lookup-tree.js'
import { formatMs, table, type Terminal } from './terminal.js'

export function dhtCommand (): Command {
  return new Command('dht')
    .description('Look into the swarm: who serves a model, what is covered, how the DHT finds it.')
    .addCommand(inspection('peers', 'Who serves a model: blocks, version, latency, load, age of the manifest.', '--model ./demo.bundle')
      .action(action<InspectionOptions>(peers)))
    .addCommand(inspection('coverage', 'Layer x block with the number of live replicas; holes in red.', '--model ./demo.bundle')
      .action(action<InspectionOptions>(coverage)))
    .addCommand(inspection('providers', 'The raw provider records of a layer, and which of them answer.', '--model ./demo.bundle --layer 3')
      .requiredOption('--layer <n>', 'layer whose records are read', parse.count(0))
      .action(action<InspectionOptions & { layer: number }>(providers)))
    .addCommand(inspection('routing-table', 'The k-buckets of a host that has just joined.', '')
      .action(action<InspectionOptions>(routingTable)))
    .addCommand(watchCommand())
    .addCommand(inspection('lookup', 'The path of a query as a tree: peers asked, hops, distances, times.', '12D3KooW...')
      .argument('<target>', 'peer id, CID, or number of a layer (with --model)')
      .action(async (target: string, options: InspectionOptions) => {
        await action<InspectionOptions>(async (given, run) => { await lookup(target, given, run) })(options)
      }))
}

async function peers (options: InspectionOptions, run: Run): Promise<void> {
  await withModel(options, run, async (inspector, model) => { showPeers(await inspector.peers(model.id, run), model, run.terminal) })
}

async function providers (options: InspectionOptions & { layer: number }, run: Run): Promise<void> {
  await withModel(options, run, async (inspector, model) => {
    checkLayer(options.layer, model)
    showPeers(await inspector.providers(model.id, options.layer, run), model, run.terminal)
  })
}

function showPeers (found: InspectedPeer[], model: InspectedModel, terminal: Terminal): void {
  for (const peer of found) terminal.event('peer', peer)
  if (found.length === 0) terminal.note(`The DHT names nobody for model ${model.id.slice(0, 12)}.`)
  else terminal.result(`${table(['peer', 'layers', 'blocks', 'version', 'latency', 'expected', 'plan', 'load', 'manifest', 'address'], found.map(peerRow))}\n`)
}

function peerRow ({ peerId, addresses, manifest, latencyMs, deviationMs, expectedMs, plan, failure }: InspectedPeer): string[] {
  const address = addresses[0] ?? '-'
  if (manifest === undefined) return [peerId, colors.red(`no answer (${failure ?? 'unreachable'})`), '', '', '', '', '', '', '', address]
  const layers = [...new Set(manifest.blocks.map(block => block.layer))].sort((a, b) => a - b)
  return [
    peerId, formatRanges(layers), String(manifest.blocks.length), manifest.version, `${formatMs(latencyMs ?? NaN)} ± ${formatMs(deviationMs ?? NaN)}`, formatMs(expectedMs ?? NaN),
    standing(plan ?? []), `${manifest.load}/${manifest.capacity}`,
    `${(manifest.ageMs / 1000).toFixed(1)} s old`, address
  ]
}

/** Such as 'whole 0-3, slower 4-5'. */
function standing (plan: NonNullable<InspectedPeer['plan']>): string {
  return [...new Set(plan.map(({ reason }) => reason))].map(reason => `${reason} ${formatRanges(plan.filter(of => of.reason === reason).map(({ layer }) => layer))}`).join(', ')
}

async function coverage (options: InspectionOptions, run: Run): Promise<void> {
  await withModel(options, run, async (inspector, model) => {
    const cells = await inspector.coverage(model.id, { signal: run.signal, expected: model.blocks })
    for (const cell of cells) run.terminal.event('block', { ...cell, replicas: cell.peers.length })
    if (cells.length === 0) run.terminal.note(`Nobody live serves model ${model.id.slice(0, 12)}.`)
    else run.terminal.result(`${coverageMapText(cells)}\n`)
  })
}

async function routingTable (options: InspectionOptions, run: Run): Promise<void> {
  await withInspector(options, run, async (inspector, peerId) => {
    const buckets = inspector.routingTable()
    run.terminal.event('routing-table', { peerId, buckets })
    const rows = buckets.flatMap(({ prefix, depth, peers }) => peers.map(peer => [prefix === '' ? '(all)' : prefix, String(depth), peer.peerId]))
    run.terminal.result(`This host is ${peerId}.\n${table(['bucket', 'depth', 'peer'], rows)}\n`)
  })
}

async function lookup (target: string, options: InspectionOptions, run: Run): Promise<void> {
  const search = async (inspector: SwarmInspector, key: string | { modelId: string, layer: number }, peerId: string): Promise<void> => {
    const found = new Set<string>()
    const hops: LookupHop[] = []
    for await (const hop of inspector.lookup(key, run)) {
      run.terminal.event('hop', hop)
      hops.push(hop)
      for (const peer of hop.peers ?? []) found.add(`${peer.peerId}  ${peer.addresses.join(' ')}`)
    }
    run.terminal.result(`${lookupTree(hops, peerId)}\n`)
    if (found.size === 0) throw new UsageError(`Nobody in the swarm knows ${target}.`)
    run.terminal.result(`\nFound:\n${[...found].map(line => `  ${line}`).join('\n')}\n`)
  }
  if (!/^\d+$/.test(target)) return await withInspector(options, run, async (inspector, peerId) => { await search(inspector, target, peerId) })
  await withModel(options, run, async (inspector, model, peerId) => {
    checkLayer(Number(target), model)
    await search(inspector, { modelId: model.id, layer: Number(target) }, peerId)
  })
}

/** Only a bundle tells how many layers a model has. */
function checkLayer (layer: number, { blocks }: InspectedModel): void {
  const last = blocks?.at(-1)?.layer ?? Infinity
  if (layer > last) throw new UsageError(`The model has layers 0-${last}; ${layer} lies outside.`)
}

