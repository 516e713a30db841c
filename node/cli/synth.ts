import { Option, type Command } from 'commander'
import { formatBytes, SHAPE_NAMES, SYNTHESIS_FORMATS, type SynthesisFormat, synthesize, type WeightFormat } from '../index.js'
import { action, command, parse, UsageError } from './command.js'
import type { OutputOptions } from './terminal.js'

interface SynthOptions extends OutputOptions {
  shape: string
  layers?: number
  format: SynthesisFormat
  quant?: WeightFormat
  blockExperts?: number
  drafter?: boolean
  out: string
  seed: number
}

/** What `--help` cannot say in a line. */
const NOTES = `
The weights are random and the model speaks gibberish, but it costs what the real one costs: names, shapes, types and files are those of the
release, and its router spreads tokens over the experts. safetensors is the release's checkpoint in bf16 (50 GB for all 30 layers), gguf
the file that llama.cpp quantises it to (Q4_0, the embedding Q6_K; 14 GB), bundle what moeswarm convert makes of it (15 GB at u4).`

export function synthCommand (): Command {
  const synth = command('synth', 'Write a model of a published shape with random weights, for tests and benchmarks.', 'moeswarm synth --shape gemma-4-26b-a4b --layers 3 --format bundle --out ./synthetic.bundle')
    .addOption(new Option('--shape <name>', 'model whose shape it has').choices(SHAPE_NAMES).makeOptionMandatory())
    .addOption(new Option('--format <format>', 'what is written').choices([...SYNTHESIS_FORMATS]).makeOptionMandatory())
    .requiredOption('--out <dir>', 'directory to create')
    .option('--layers <n>', 'layers of the same width (default: those of the shape)', parse.count(1))
    .addOption(new Option('--quant <format>', 'how a bundle stores weights (default: u4)').choices(['u4', 'q4', 'q8', 'f16', 'f32']))
    .option('--block-experts <n>', 'experts in a block of a bundle (default: 16)', parse.count(1))
    .option('--drafter', 'add a drafter of the shape of the release\'s to a bundle; it proposes at random, but costs what the real one costs')
    .option('--seed <n>', 'equal seeds give equal bytes', parse.count(0), 0)
    .addHelpText('after', NOTES)
  return synth.action(action<SynthOptions>(async ({ shape, layers, format, quant, blockExperts, drafter, out, seed }, { terminal, signal }) => {
    if (format !== 'bundle' && (quant ?? blockExperts ?? drafter) !== undefined) throw new UsageError(`--quant, --block-experts and --drafter are of bundles: leave them out for ${format}, or give --format bundle.`)
    const show = terminal.progress('Writing', 'bytes')
    const started = performance.now()
    const { path, bytes } = await synthesize({
      shape, layers, format, quant, blockExperts, drafter, out, seed, signal, onProgress: ({ doneBytes, totalBytes }) => { show(doneBytes, totalBytes) }
    })
    terminal.endProgress()
    const seconds = (performance.now() - started) / 1000
    terminal.event('done', { path, bytes, seconds })
    terminal.note(`Wrote ${path}: ${formatBytes(bytes)} in ${seconds.toFixed(1)} s, ${formatBytes(bytes / seconds)}/s.`)
  }))
}
