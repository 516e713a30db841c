import { Command } from 'commander'
import colors from 'picocolors'
import { Bundle, type BlockEntry } from '../../model-tools/index.js'
import { formatRanges, createSwarmHost, type InspectedPeer, SwarmInspector } from '../../swarm/index.js'
import { isModelId } from '../bundle-store.js'
import { action, command, parse, type Run, UsageError } from './command.js'
import { coverageMapText } from './coverage-map.js'
import { noteEvents, shortPeerId } from './swarm-events.js'
import { swarmKeyOf, type SwarmKeyOptions, withSwarmKey } from './swarm-options.js'
import { formatMs, type OutputOptions, table, type Terminal } from './terminal.js'

interface DhtOptions extends OutputOptions, SwarmKeyOptions {
  bootstrap?: string[]
  model?: string
}

/** A model as the inspector knows it: its id, and its blocks where a bundle tells them. */
interface InspectedModel {
  id: string
  blocks?: BlockEntry[]
}

export function dhtCommand (): Command {
  return new Command('dht')
    .description('Look into the swarm: who serves a model, what is covered, how the DHT finds it.')
    .addCommand(inspect('peers', 'Who serves a model: blocks, version, latency, load, age of the manifest.', '--model ./demo.bundle')
      .action(action<DhtOptions>(peers)))
    .addCommand(inspect('coverage', 'Layer x block with the number of live replicas; holes in red.', '--model ./demo.bundle')
      .action(action<DhtOptions>(coverage)))
    .addCommand(inspect('providers', 'The raw provider records of a layer, and which of them answer.', '--model ./demo.bundle --layer 3')
      .requiredOption('--layer <n>', 'layer whose records are read', parse.count(0))
      .action(action<DhtOptions & { layer: number }>(providers)))
    .addCommand(inspect('routing-table', 'The k-buckets of a host that has just joined.', '')
      .action(action<DhtOptions>(routingTable)))
    .addCommand(inspect('lookup', 'The path of a query, hop by hop, with times.', '12D3KooW...')
      .argument('<target>', 'peer id, CID, or number of a layer (with --model)')
      .action(async (target: string, options: DhtOptions) => {
        await action<DhtOptions>(async (given, run) => { await lookup(target, given, run) })(options)
      }))
}

function inspect (name: string, description: string, example: string): Command {
  return withSwarmKey(command(name, description, `moeswarm dht ${name} ${example}${example === '' ? '' : ' '}--bootstrap /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW...`)
    .option('--bootstrap <multiaddr>', 'a host that is in the swarm, may be repeated', parse.collect)
    .option('--model <bundle dir or model id>', 'model to look for'))
}

async function peers (options: DhtOptions, run: Run): Promise<void> {
  const model = await modelOf(options)
  await withInspector(options, run, async inspector => { showPeers(await inspector.peers(model.id, run), model, run.terminal) })
}

async function providers (options: DhtOptions & { layer: number }, run: Run): Promise<void> {
  const model = await modelOf(options)
  checkLayer(options.layer, model)
  await withInspector(options, run, async inspector => { showPeers(await inspector.providers(model.id, options.layer, run), model, run.terminal) })
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

async function coverage (options: DhtOptions, run: Run): Promise<void> {
  const model = await modelOf(options)
  await withInspector(options, run, async inspector => {
    const cells = await inspector.coverage(model.id, { signal: run.signal, expected: model.blocks })
    for (const cell of cells) run.terminal.event('block', { ...cell, replicas: cell.peers.length })
    if (cells.length === 0) run.terminal.note(`Nobody live serves model ${model.id.slice(0, 12)}.`)
    else run.terminal.result(`${coverageMapText(cells)}\n`)
  })
}

async function routingTable (options: DhtOptions, run: Run): Promise<void> {
  await withInspector(options, run, async (inspector, peerId) => {
    const buckets = inspector.routingTable()
    run.terminal.event('routing-table', { peerId, buckets })
    const rows = buckets.flatMap(({ prefix, depth, peers }) => peers.map(peer => [prefix === '' ? '(all)' : prefix, String(depth), peer.peerId]))
    run.terminal.result(`This host is ${peerId}.\n${table(['bucket', 'depth', 'peer'], rows)}\n`)
  })
}

async function lookup (target: string, options: DhtOptions, run: Run): Promise<void> {
  const key = /^\d+$/.test(target) ? await layerOf(Number(target), options) : target
  await withInspector(options, run, async inspector => {
    const found = new Set<string>()
    for await (const hop of inspector.lookup(key, run)) {
      run.terminal.event('hop', hop)
      const what = {
        ask: () => 'asked',
        answer: () => `answered with ${hop.closer?.length ?? 0} closer peers${hop.closer?.length ? `: ${hop.closer.map(shortPeerId).join(' ')}` : ''}`,
        found: () => `found ${(hop.peers ?? []).map(peer => shortPeerId(peer.peerId)).join(' ')}`,
        failed: () => colors.red(`failed (${hop.error ?? 'unknown'})`)
      }[hop.kind]()
      for (const peer of hop.peers ?? []) found.add(`${peer.peerId}  ${peer.addresses.join(' ')}`)
      run.terminal.result(`${formatMs(hop.atMs).padStart(9)}  path ${hop.path < 0 ? 'own' : hop.path}  ${shortPeerId(hop.peerId)}  ${what}\n`)
    }
    if (found.size === 0) throw new UsageError(`Nobody in the swarm knows ${target}.`)
    run.terminal.result(`\nFound:\n${[...found].map(line => `  ${line}`).join('\n')}\n`)
  })
}

async function withInspector (options: DhtOptions, { terminal, signal }: Run, use: (inspector: SwarmInspector, peerId: string) => Promise<void>): Promise<void> {
  if (options.bootstrap === undefined) throw new UsageError('No swarm to look into: name a host in it with --bootstrap.')
  const host = await createSwarmHost({
    dht: 'client',
    bootstrap: options.bootstrap,
    swarmKey: await swarmKeyOf(options),
    signal,
    onEvent: noteEvents(terminal)
  })
  try {
    await use(new SwarmInspector(host), host.peerId)
  } finally {
    await host.stop()
  }
}

/** Only a bundle tells how many layers a model has. */
function checkLayer (layer: number, { blocks }: InspectedModel): void {
  const last = blocks?.at(-1)?.layer ?? Infinity
  if (layer > last) throw new UsageError(`The model has layers 0-${last}; ${layer} lies outside.`)
}

async function layerOf (layer: number, options: DhtOptions): Promise<{ modelId: string, layer: number }> {
  const model = await modelOf(options)
  checkLayer(layer, model)
  return { modelId: model.id, layer }
}

async function modelOf ({ model }: DhtOptions): Promise<InspectedModel> {
  if (model === undefined) throw new UsageError('No model: name a bundle directory or a model id with --model.')
  if (isModelId(model)) return { id: model }
  const bundle = await Bundle.open(model)
  return { id: bundle.id, blocks: bundle.blocks }
}
