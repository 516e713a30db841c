import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Terminal, table } from '../../node/cli/terminal.js'
import { PACKED_DIR } from '../../node/host/packed-blocks.js'
import { ExpertHost, expertHostBytes, hostBaseBytes, type LoadProgress, residentMemory, type ResidentMemory } from '../../node/host/expert-host.js'
import { Bundle, formatBytes, synthesize, WEIGHT_FORMATS } from '../../model-tools/index.js'
import type { ExpertBatch } from '../../swarm/index.js'
import { count, oneOf, scriptOptions } from '../script-options.js'
import { shownSpread, type Spread, spread } from './figures.js'

const HELP = `npm run bench:host [-- --layers 8 --quant u4 --threads 2 --model DIR --json]

What hosting whole layers of the 26B shape takes: bytes, resident memory, a start with the files out of memory and a second one, each in a process of its own;
and a decoding step's experts. Weights in memory, and mapped.

  --layers <n>      (default: 8)
  --quant <format>  ${WEIGHT_FORMATS.join(', ')} (default: u4)
  --threads <n>     compute workers (default: all cores)
  --model <dir>     host this bundle instead of one that is made for it
`

const ROUNDS = 200
const run = promisify(execFile)

/** What a start in a fresh process prints. */
interface Start {
  hostedBytes: number
  experts: number
  predictedBytes: number
  before: ResidentMemory
  loaded: ResidentMemory
  computed: ResidentMemory
  removed: ResidentMemory
  mappedExperts: number
  notMapped?: string
  packMs: number
  verifyMs: number
  loadMs: number
  /** One token to 8 random experts, and to 8 that are all on one worker or evenly spread. */
  batches: Record<string, Spread>
}

const options = scriptOptions(HELP, {
  layers: { type: 'string', default: '8' },
  quant: { type: 'string', default: 'u4' },
  threads: { type: 'string', default: String(cpus().length) },
  model: { type: 'string' },
  // Of the processes that it starts.
  start: { type: 'string' },
  map: { type: 'boolean', default: false },
  keep: { type: 'boolean', default: false }
})
const threads = count('threads', options.threads)
const quant = oneOf('quant', options.quant, WEIGHT_FORMATS)

if (options.start !== undefined) process.stdout.write(JSON.stringify(await start(options.start)))
else await compare()

async function compare (): Promise<void> {
  const terminal = new Terminal(options)
  const scratch = await mkdtemp(join(tmpdir(), 'moeswarm-bench-'))
  try {
    const model = options.model ?? join(scratch, 'model')
    if (options.model === undefined) {
      await synthesize({ shape: 'gemma-4-26b-a4b', layers: count('layers', options.layers), format: 'bundle', quant, out: model })
    }
    const bundle = await Bundle.open(model)
    await evict(bundle)
    const starts: Record<string, Start> = { 'memory, cold': await startProcess(model), 'memory, warm': await startProcess(model), 'mapped, first': await startProcess(model, ['--map', '--keep']) }
    await evict(bundle)
    starts['mapped, cold'] = await startProcess(model, ['--map', '--keep'])
    starts['mapped, warm'] = await startProcess(model, ['--map'])
    for (const [name, result] of Object.entries(starts)) terminal.event('start', { name, ...result })
    const { hostedBytes, experts } = starts['memory, warm']
    const row = (label: string, of: (start: Start) => string): string[] => [label, ...Object.values(starts).map(of)]
    const memory = ({ residentBytes, fileBytes }: ResidentMemory): string => `${formatBytes(residentBytes)}${fileBytes === undefined ? '' : `, of files ${formatBytes(fileBytes)}`}`
    terminal.result(`${table(['', ...Object.keys(starts)], [
      row('files verified, s', ({ verifyMs }) => (verifyMs / 1000).toFixed(2)),
      row('weights packed, s', ({ packMs }) => (packMs / 1000).toFixed(2)),
      row('experts loaded, s', ({ loadMs }) => (loadMs / 1000).toFixed(2)),
      row('resident before', ({ before }) => memory(before)),
      row('resident, loaded', ({ loaded }) => memory(loaded)),
      row('resident, after computing', ({ computed }) => memory(computed)),
      row('predicted for blocks and workers', ({ predictedBytes }) => formatBytes(predictedBytes)),
      row('grown by / predicted', ({ before, loaded, predictedBytes }) => ((loaded.residentBytes - before.residentBytes) / predictedBytes).toFixed(3)),
      row('anonymous / bytes hosted', ({ computed: { anonymousBytes }, hostedBytes }) => ((anonymousBytes ?? 0) / hostedBytes).toFixed(3)),
      row('resident, computed / predicted', ({ before, computed, predictedBytes }) => ((computed.residentBytes - before.residentBytes) / predictedBytes).toFixed(3)),
      row('experts mapped', ({ mappedExperts, notMapped }) => notMapped ?? String(mappedExperts)),
      row('resident / bytes hosted', ({ computed }) => (computed.residentBytes / hostedBytes).toFixed(3)),
      row('resident, blocks removed', ({ removed, computed }) => removed.residentBytes > computed.residentBytes / 2 ? '' : memory(removed)),
      ...Object.keys(starts['memory, warm'].batches).map(name => row(`ms a token, ${name}`, ({ batches }) => shownSpread(batches[name], 2)))
    ])}\n\n${experts} experts, ${formatBytes(hostedBytes)} in files, ${threads} workers. Cold: the files were out of the page cache where the system lets us (Linux with dd).\n`)
  } finally {
    await rm(scratch, { recursive: true })
  }
}

async function startProcess (model: string, more: string[] = []): Promise<Start> {
  const { stdout } = await run(process.execPath, [fileURLToPath(import.meta.url), '--start', model, '--threads', String(threads), ...more], { maxBuffer: 2 ** 24 })
  return JSON.parse(stdout) as Start
}

/** Asks the system to forget the files' pages. */
async function evict (bundle: Bundle): Promise<void> {
  const packed = join(bundle.dir, PACKED_DIR)
  const files = [...bundle.blocks.map(({ file }) => bundle.path(file)), ...(await readdir(packed).catch(() => [])).map(name => join(packed, name))]
  for (const file of files) {
    await run('sync', [file]).catch(() => undefined)
    await run('dd', [`if=${file}`, 'iflag=nocache', 'count=0']).catch(() => undefined)
  }
}

async function start (model: string): Promise<Start> {
  const bundle = await Bundle.open(model)
  const { blocks } = bundle
  const before = residentMemory()
  const startMs = performance.now()
  let verifiedMs = startMs
  let packedMs = startMs
  const onLoad = ({ phase }: LoadProgress): void => {
    if (phase === 'verify') verifiedMs = packedMs = performance.now()
    if (phase === 'pack') packedMs = performance.now()
  }
  const host = await ExpertHost.load({ bundle, blocks, threads, mapWeights: options.map, onLoad })
  const loadedMs = performance.now()
  const loaded = residentMemory()
  const layers = bundle.config.layerTypes.length
  const figures: Record<string, number[]> = {}
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, pick] of Object.entries({ 'random experts': random, 'evenly spread': even, 'all on one worker': single })) {
      const batch = batchOf(bundle, round % layers, pick(bundle.config.experts, bundle.config.topK))
      const begun = performance.now()
      await host.compute(batch)
      ;(figures[name] ??= []).push(performance.now() - begun)
    }
  }
  const computed = residentMemory()
  const { experts: mappedExperts, notMapped } = host.mapping
  if (!options.keep) await host.remove(blocks)
  const removed = residentMemory()
  await host.stop()
  return {
    hostedBytes: blocks.reduce((sum, { file }) => sum + bundle.manifest.files[file].bytes, 0),
    experts: blocks.reduce((sum, block) => sum + block.experts, 0),
    predictedBytes: expertHostBytes(bundle, blocks) + hostBaseBytes(threads),
    before, loaded, computed, removed, mappedExperts, notMapped,
    packMs: packedMs - verifiedMs,
    verifyMs: verifiedMs - startMs,
    loadMs: loadedMs - packedMs,
    batches: Object.fromEntries(Object.entries(figures).map(([name, times]) => [name, spread(times)]))
  }
}

function random (experts: number, chosen: number): number[] {
  const picked = new Set<number>()
  while (picked.size < chosen) picked.add(Math.floor(Math.random() * experts))
  return [...picked].sort((a, b) => a - b)
}

function even (experts: number, chosen: number): number[] {
  const first = Math.floor(Math.random() * experts)
  return Array.from({ length: chosen }, (_, i) => (first + i * (Math.floor(experts / chosen / threads) * threads + 1)) % experts).sort((a, b) => a - b)
}

function single (experts: number, chosen: number): number[] {
  return random(Math.floor(experts / threads), chosen).map(expert => expert * threads)
}

function batchOf (bundle: Bundle, layer: number, experts: number[]): ExpertBatch {
  const { hiddenSize } = bundle.config
  return {
    layer, tokens: 1,
    hidden: Float32Array.from({ length: hiddenSize }, (_, i) => Math.sin(i)),
    counts: Uint16Array.of(experts.length),
    experts: Uint16Array.from(experts),
    weights: new Float32Array(experts.length).fill(1 / experts.length)
  }
}
