import { writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { formatMs, Terminal, table } from '../../node/cli/terminal.js'
import { availableMemory, expertHostBytes, hostBaseBytes } from '../../node/host/memory.js'
import { type Bundle, formatBytes, WEIGHT_FORMATS } from '../../model-tools/index.js'
import { count, oneOf, scriptOptions } from '../script-options.js'
import { thisCpu } from './cpu.js'
import type { Work } from './decode-measurement.js'
import { isMet, lapRows, MEMORY_HEAD, memoryRows, type Rounds, SIDE_NAMES, sideRows, summarise, type Summary, targets } from './decode-report.js'
import { measureSide, type Setup, type Side, SIDES, type Split, SPLITS } from './decode-sides.js'
import { llamaCpp } from './llama-cpp.js'
import { watchOtherLoad } from './other-load.js'
import { BUNDLE_QUANT, removeSynthetic, SHAPE, SHAPE_LAYERS, syntheticBundle, syntheticGguf } from './synthetic-models.js'

/** Share of the cores that others may take before a round is said to be disturbed. */
const DISTURBED = 0.03

const USAGE = `npm run bench:decode -- [options]: decoding and prefill at the shape of Gemma 4 26B-A4B with 4-bit experts, in turn: llama.cpp, llama.cpp with its own split,
our client all local, and our client with two peers on loopback. Each round starts each side anew, alone, in processes of its own. Nothing else may run on the machine.

  --layers <n>        layers of the same width (default: all ${SHAPE_LAYERS}; they take 30 GB of disk and 20 GB of memory)
  --quant <format>    of our bundle: ${WEIGHT_FORMATS.join(', ')} (default: ${BUNDLE_QUANT}, which convert chooses for this shape; llama.cpp has Q4_0, with Q6_K for the head)
  --rounds <n>        rounds (default: 3)
  --tokens <n>        tokens decoded in one go (default: 64)
  --repeats <n>       how often, in each round (default: 3)
  --prefill <n,n>     lengths of prompts of random tokens (default: 128,512; 0 for none)
  --sides <a,b>       of ${SIDES.join(', ')} (default: all)
  --threads <n>       of llama.cpp and of our client (default: all cores)
  --peer-threads <n>  compute workers of each peer (default: as many as --threads where they divide the layers, so that one computes at a time; half as many where both do)
  --split <what>      what the peers divide among themselves: ${SPLITS.join(' or ')} (default: ${SPLITS[0]})
  --keep              keep the models that were made in ~/.cache/moeswarm/bench (default; --no-keep removes them at the end)
  --json              one JSON object a line on stdout: every round, then the summary
  --out <file>        write the summary as JSON to a file, too
`

const options = scriptOptions(USAGE, {
  layers: { type: 'string', default: String(SHAPE_LAYERS) },
  quant: { type: 'string', default: BUNDLE_QUANT },
  rounds: { type: 'string', default: '3' },
  tokens: { type: 'string', default: '64' },
  repeats: { type: 'string', default: '3' },
  prefill: { type: 'string', default: '128,512' },
  sides: { type: 'string', default: SIDES.join(',') },
  threads: { type: 'string', default: String(availableParallelism()) },
  'peer-threads': { type: 'string' },
  split: { type: 'string', default: SPLITS[0] },
  keep: { type: 'boolean', default: true },
  'no-keep': { type: 'boolean', default: false },
  out: { type: 'string' }
})

await bench()

async function bench (): Promise<void> {
  const terminal = new Terminal(options)
  const abort = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => { abort.abort() })
  const layers = count('layers', options.layers)
  try {
    const work: Work = {
      threads: count('threads', options.threads),
      tokens: count('tokens', options.tokens),
      repeats: count('repeats', options.repeats),
      prefill: options.prefill === '0' ? [] : options.prefill.split(',').map(length => count('prefill', length)),
      signal: abort.signal
    }
    const sides = options.sides.split(',').map(side => oneOf('sides', side, SIDES))
    const rounds = count('rounds', options.rounds)
    const setup = await prepare(terminal, layers, sides, work)
    if (sides.includes('local') || sides.includes('swarm')) requireMemory(setup.bundle, work.threads)
    const measured = await measure(terminal, sides, rounds, setup, work)
    const summaries = Object.fromEntries(sides.map(side => [side, summarise(measured[side] ?? [])])) as Partial<Record<Side, Summary>>
    const { threads, tokens, repeats } = work
    const summary = {
      shape: SHAPE, layers, cpu: await thisCpu(), node: process.version, llamaCpp: setup.llama?.programs.version, split: setup.split, threads, peerThreads: setup.peerThreads, rounds, tokens, repeats, summaries, targets: targets(summaries)
    }
    terminal.event('summary', summary)
    if (options.out !== undefined) await writeFile(options.out, `${JSON.stringify(summary, undefined, 2)}\n`)
    terminal.result(report(sides, summaries, layers))
    terminal.result(`\n${rounds} rounds of ${work.repeats} times ${work.tokens} tokens; ${layers} of ${SHAPE_LAYERS} layers; ${work.threads} threads, peers ${setup.peerThreads} each, which divide the ${setup.split}.
Medians with quartiles. ${setup.llama === undefined ? '' : `llama.cpp ${setup.llama.programs.version}, `}${summary.cpu.cores} cores of ${summary.cpu.model} (${summary.cpu.features.join(' ')}), Node ${process.version}.\n`)
  } catch (error) {
    if (!abort.signal.aborted) process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = abort.signal.aborted ? 130 : 1
  } finally {
    terminal.endProgress()
    if (options['no-keep']) await removeSynthetic(layers)
  }
}

/** llama.cpp and the models, from the cache where they are there. */
async function prepare (terminal: Terminal, layers: number, sides: Side[], { threads, signal }: Work): Promise<Setup> {
  const onNote = (text: string): void => { terminal.note(text) }
  const needsLlama = sides.some(side => side === 'llama' || side === 'llama-rpc')
  const programs = needsLlama ? await llamaCpp({ jobs: availableParallelism(), onNote, onProgress: terminal.progress('Compiling'), signal }) : undefined
  const making = (label: string): { onNote: typeof onNote, onProgress: (progress: { doneBytes: number, totalBytes: number }) => void, signal?: AbortSignal } => {
    const show = terminal.progress(label, 'bytes')
    return { onNote, onProgress: ({ doneBytes, totalBytes }) => { show(doneBytes, totalBytes) }, signal }
  }
  const bundle = await syntheticBundle(layers, making('Bundle'), oneOf('quant', options.quant, WEIGHT_FORMATS))
  const llama = programs && { programs, gguf: await syntheticGguf(layers, making('GGUF')) }
  terminal.endProgress()
  const split: Split = oneOf('split', options.split, SPLITS)
  const peerThreads = options['peer-threads'] === undefined ? defaultPeerThreads(split, threads) : count('peer-threads', options['peer-threads'])
  return { llama, bundle, split, peerThreads }
}

/** All cores where one peer computes at a time, half of them where both do. */
function defaultPeerThreads (split: Split, threads: number): number {
  return split === 'layers' ? threads : Math.max(1, Math.floor(threads / 2))
}

/** A machine that swaps, or ends processes for memory, measures nothing. */
function requireMemory (bundle: Bundle, threads: number): void {
  const clientBytes = Object.entries(bundle.manifest.files).filter(([file]) => !bundle.blocks.some(block => block.file === file)).reduce((sum, [, { bytes }]) => sum + bytes, 0)
  const [needed, available] = [expertHostBytes(bundle, bundle.blocks) + hostBaseBytes(threads) + clientBytes, availableMemory()]
  if (needed > available) throw new Error(`This model takes about ${formatBytes(needed)} of memory, and ${formatBytes(available)} are available: end other programs, or give fewer --layers.`)
}

async function measure (terminal: Terminal, sides: Side[], rounds: number, setup: Setup, work: Work): Promise<Rounds> {
  const measured: Rounds = {}
  for (let round = 1; round <= rounds; round++) {
    for (const side of sides) {
      work.signal?.throwIfAborted()
      const started = performance.now()
      const loadSince = await watchOtherLoad()
      const measurement = await measureSide(side, setup, work)
      const load = await loadSince()
      ;(measured[side] ??= []).push(measurement)
      terminal.event('round', { round, side, ...measurement, load })
      const { decode } = summarise([measurement])
      terminal.note(`Round ${round} of ${rounds}, ${SIDE_NAMES[side]}: ${decode.median.toFixed(2)} tok/s (${formatMs(1000 / decode.median)} a token), loaded in ${measurement.loadSeconds.toFixed(1)} s, ${((performance.now() - started) / 1000).toFixed(0)} s in all`)
      if (load !== undefined && load.others + load.stolen > DISTURBED) {
        terminal.note(`  Others took ${(100 * load.others).toFixed(0)} % of the cores meanwhile, other machines of the host ${(100 * load.stolen).toFixed(0)} %: this round says little.`)
      }
    }
  }
  return measured
}

function report (sides: Side[], summaries: Partial<Record<Side, Summary>>, layers: number): string {
  const of = (side: Side): Summary[] => [summaries[side]].filter(summary => summary !== undefined)
  const all = sides.flatMap(of)
  const ours = sides.filter(side => side === 'local' || side === 'swarm')
  const kinds = [...new Set(ours.flatMap(of).flatMap(({ laps }) => Object.keys(laps)))]
  return [
    table(['', ...sides.map(side => SIDE_NAMES[side])], sideRows(all, layers)),
    table(MEMORY_HEAD, sides.flatMap(side => of(side).flatMap(summary => memoryRows(SIDE_NAMES[side], summary)))),
    ...kinds.map(kind => table([kind === 'decode' ? 'ms a lap' : `ms a lap of ${kind}`, ...ours.flatMap(side => [SIDE_NAMES[side], ''])], lapRows(kind, ours.flatMap(of)))),
    table(['target', '', 'wanted', 'measured', ''], [
      ...targets(summaries).map(target => [target.what, target.bound, String(target.wanted), target.measured?.toFixed(3) ?? '-', { true: 'met', false: 'missed', undefined: '' }[String(isMet(target))] ?? '']),
      ['request overhead on our stream over raw TCP', 'at most', '200 µs', 'npm run bench:wire', ''],
      ['a peer\'s throughput, 16 clients / one', 'at least', '3', 'npm run bench:clients', '']
    ])
  ].join('\n\n') + '\n'
}
