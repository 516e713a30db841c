import { type Command, Option } from 'commander'
import { type Bundle, type Device, DEVICES, DRAFT_CHOICES, type DraftChoice, fetchBundle, isNotFound, isPath, openModel, parseRanges, SwarmClient, type SwarmClientInit, type WireChoice } from '../index.js'
import { parse, type Run, UsageError } from './command.js'
import { Log } from './log.js'
import { stateDirectory } from './state-directory.js'
import { logEvents } from './swarm-events.js'
import { swarmKeyOf, type SwarmKeyOptions, withSwarmKey } from './swarm-options.js'
import type { OutputOptions } from './terminal.js'

/** Options of every command that generates. */
export interface ClientOptions extends OutputOptions, SwarmKeyOptions {
  model: string
  bootstrap?: string[]
  wire: WireChoice
  localLayers: string
  localMemory?: number
  mapWeights?: boolean
  threads?: number
  device: Device
  draft: DraftChoice
  draftTokens?: number
  audit: number
  auditSeed?: string
  paranoid?: boolean
  copyMemory?: number
  patience: number
}

export function withClientOptions (command: Command): Command {
  return withSwarmKey(command
    .requiredOption('--model <name, id or bundle dir>', 'model as `moeswarm models` shows it; one that only the swarm has is fetched first, its client part')
    .option('--bootstrap <multiaddr>', 'a host that is in the swarm, may be repeated', parse.collect)
    .addOption(new Option('--wire <dtype>', 'form of the hidden states on the wire; fp32 is exact, auto is fp16, or int8 over slow links').choices(['auto', 'fp32', 'fp16', 'int8']).default('auto'))
    .option('--local-layers <ranges>', 'layers whose experts this machine computes: none, all, or such as 0-5', 'none')
    .option('--local-memory <size>', 'memory for further experts, such as 6GiB: what nobody has, then the layers that are slowest to reach, then what is used most', parse.bytes)
    .option('--map-weights', 'keep packed weights of local experts in files beside the bundle (as large as it) and map them (default: where that takes less memory: Linux x64)')
    .option('--no-map-weights', 'keep them in memory')
    .option('--threads <n>', 'threads of this machine to use (default: all cores)', parse.count(1))
    .option('--audit <share>', 'share of the requests that two peers answer, to catch who lies: 1 compares every reply before it is used, 0 none', parse.number(0, 1), 0.02)
    .option('--audit-seed <text>', 'equal seeds compare the same requests, for tests (default: by chance, so that nobody can tell)')
    .option('--paranoid', 'compute again what came after the first reply of a peer that turns out to lie; where the text is no terminal\'s, it is written when it is whole')
    .option('--copy-memory <size>', 'memory for experts of the bundle here, loaded when peers disagree or nobody else has them; 0 for never (default: 1 GiB, a quarter of what is free at most)', parse.bytes)
    .option('--patience <s>', 'seconds to look for peers when nobody holds what a layer needs', parse.number(0), 30)
    .addOption(new Option('--device <name>', 'what computes attention, dense MLP and head; the CPU where it cannot').choices(DEVICES).default('cpu'))
    .addOption(new Option('--draft <who>', 'who proposes tokens, of which the model confirms several in one pass; the text stays the same. lookup: the text itself; assistant: the bundle\'s drafter; self: this machine\'s part of the model; auto: whoever pays').choices(DRAFT_CHOICES.filter(choice => choice !== 'own')).default('auto'))
    .option('--draft-tokens <n>', 'tokens of every draft (default: as many as pay)', parse.count(1)))
}

/** Opens the client that the options ask for, with a bar for each step. @throws UsageError without a swarm to ask */
export async function openClient (options: ClientOptions, { terminal, signal }: Run, more: Pick<SwarmClientInit, 'onLayer' | 'onEvent'> = {}, log = Log.plain(terminal)): Promise<SwarmClient> {
  const bars = {
    'fetch-blocks': terminal.progress('Fetching blocks'),
    'verify-experts': terminal.progress('Verifying blocks'),
    'pack-experts': terminal.progress('Packing weights, once'),
    'load-layers': terminal.progress('Loading layers'),
    'find-peers': terminal.progress('Finding peers')
  }
  const bundle = await bundleOf(options, { terminal, signal })
  const localLayers = parseLocalLayers(options, bundle)
  // Without a model no swarm would help: that was said first.
  if (localLayers !== 'all' && options.bootstrap === undefined) throw new UsageError('No swarm to ask: name a host in it with --bootstrap, or compute everything here with --local-layers all.')
  const note = logEvents(log)
  const client = await SwarmClient.open({
    model: bundle.dir,
    bootstrap: options.bootstrap,
    swarmKey: await swarmKeyOf(options),
    wire: options.wire,
    localLayers,
    localMemory: options.localMemory,
    mapWeights: options.mapWeights,
    stateDir: stateDirectory(),
    threads: options.threads,
    device: options.device,
    draft: options.draft,
    draftTokens: options.draftTokens,
    audit: options.audit,
    auditSeed: options.auditSeed,
    copyMemory: options.copyMemory,
    patienceMs: options.patience * 1000,
    onDeviceProblem: problem => { log.write('warn', 'device-problem', problem) },
    onProgress: (step, done, total) => { bars[step](done, total) },
    ...more,
    onEvent: event => {
      note(event)
      more.onEvent?.(event)
    },
    signal
  })
  terminal.endProgress()
  return client
}

/** The bundle here that is called so; what it lacks of the client part, or all of that where nothing is here, comes from the swarm and is kept. */
async function bundleOf ({ model, bootstrap, ...options }: ClientOptions, { terminal, signal }: Run): Promise<Bundle> {
  const here = await openModel(model).catch((error: unknown) => {
    if (!isNotFound(error) || isPath(model) || bootstrap === undefined) throw error
    return undefined
  })
  if (here !== undefined && (bootstrap === undefined || await here.hasClientPart())) return here
  const show = terminal.progress('Fetching', 'bytes')
  const bundle = await fetchBundle({
    model: here?.id ?? model, out: here?.dir, bootstrap: bootstrap!, swarmKey: await swarmKeyOf(options), part: 'client', signal,
    onModel: ({ id, name, dir }) => { terminal.note(`Getting the client part of ${name === undefined ? '' : `${name}, `}model ${id.slice(0, 12)}, into ${dir} ...`) },
    onProgress: ({ doneBytes, totalBytes }) => { show(doneBytes, totalBytes) }
  })
  terminal.endProgress()
  return bundle
}

function parseLocalLayers ({ localLayers }: ClientOptions, { config }: Bundle): number[] | 'all' {
  if (localLayers === 'all') return 'all'
  if (localLayers === 'none') return []
  return parseRanges(localLayers, 'layers', config.layerTypes.length).flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, i) => first + i))
}
