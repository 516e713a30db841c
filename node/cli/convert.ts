import { Option, type Command } from 'commander'
import { checkpointFile, type ConversionProgress, convertCheckpoint, counted, formatBytes, known, type WeightFormat } from '../index.js'
import { action, command, parse } from './command.js'
import type { OutputOptions } from './terminal.js'

interface ConvertOptions extends OutputOptions {
  file?: string
  out: string
  quant?: WeightFormat
  blockExperts?: number
  layers?: string
  experts?: string
  client: boolean
  drafter?: string
  manifest?: string
  threads?: number
}

/** What `--help` cannot say in a line. */
const NOTES = `
A checkpoint hf:owner/name[@revision] is read from the Hugging Face Hub by byte ranges, only the tensors that are needed, and never stored as
a whole; files that the Hub's own tools have downloaded before are read from their cache. HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_ENDPOINT
mean what they mean to those tools. Of a repository without safetensors its GGUF file is read; where there are several (the error lists them)
name one, with --file or as hf:owner/name:file.gguf. A model in parts -00001-of-0000N.gguf is read from all of them.

Parts: --layers, --experts and --no-client write a part of the bundle. Its manifest holds the digests of the whole, so everything is read
and encoded all the same, unless --manifest names the manifest.json of that bundle: then only the part is read, and checked against it.

u4 has the error of q4 in a sixth less memory, which is a sixth more speed. q4 takes the blocks of a Q4_0 file over as they are.

A conversion that was broken off, even by kill -9, goes on when the same command is run again.`

export function convertCommand (): Command {
  const convert = command('convert', 'Turn a checkpoint into a bundle that peers and clients load.', 'moeswarm convert hf:google/gemma-4-26B-A4B --out ./gemma-4-26b-a4b.bundle')
    .argument('<checkpoint>', 'directory with config.json, tokenizer.json and *.safetensors, a .gguf file, or hf:owner/name[@revision][:file.gguf]')
    .requiredOption('--out <bundle dir>', 'where the bundle is written; a broken-off conversion goes on from where it was')
    .option('--file <name.gguf>', 'the one to read where the repository or directory holds several GGUF models')
    .addOption(new Option('--quant <format>', 'how weights are stored: 4 bits (u4 in blocks of 64, q4 in blocks of 32), 8 bits, half or full precision (default: that of --manifest, else u4; q4 for a .gguf of Q4_0)').choices(['u4', 'q4', 'q8', 'f16', 'f32']))
    .option('--block-experts <n>', 'experts in a block, the unit that peers host (default: 16, or that of --manifest)', parse.count(1))
    .option('--layers <ranges>', 'write the experts of these layers only, such as 0-3,7, or none')
    .option('--experts <ranges>', 'write these experts of each layer only, whole blocks such as 0-15')
    .option('--no-client', 'leave out the client part: embedding, attention, tokenizer')
    .option('--drafter <checkpoint>', 'the model\'s drafter (gemma4_assistant), for speculative decoding; goes into the client part')
    .option('--manifest <file>', 'manifest.json of the bundle that must come out, from its publisher or from a peer')
    .option('--threads <n>', 'threads that encode (default: all cores, at most 8)', parse.count(1))
    .addHelpText('after', NOTES)
  return convert.action(async (checkpoint: string, options: ConvertOptions) => {
    await action<ConvertOptions>(async (settings, { terminal, signal }) => {
      const show = terminal.progress('Converting', 'bytes')
      const started = performance.now()
      let last: ConversionProgress = { doneBytes: 0, totalBytes: 0, keptBytes: 0, file: '' }
      const { file, ...conversion } = settings
      const bundle = await convertCheckpoint({
        ...conversion, checkpoint: file === undefined ? checkpoint : checkpointFile(checkpoint, file), signal,
        onProgress: progress => {
          last = progress
          show(progress.doneBytes, progress.totalBytes, progress.keptBytes)
        }
      })
      terminal.endProgress()
      const seconds = (performance.now() - started) / 1000
      const { manifest: { quant, blockExperts, files }, blocks, id } = bundle
      const here = (await Promise.all(Object.keys(files).map(async file => await bundle.has(file) ? [file] : []))).flat()
      const bytes = here.reduce((sum, file) => sum + files[file].bytes, 0)
      const blocksHere = blocks.filter(({ file }) => here.includes(file)).length
      const madeBytes = last.doneBytes - last.keptBytes
      terminal.event('done', { model: id, out: settings.out, bytes, files: here.length, blocks: blocksHere, madeBytes, seconds })
      const part = here.length === Object.keys(files).length ? counted(blocksHere, 'block') : `${blocksHere} of ${blocks.length} blocks`
      terminal.note(`Bundle ${settings.out}: ${known(bundle).name}, model ${id}, ${formatBytes(bytes)}, ${part} of up to ${counted(blockExperts, 'expert')}, ${quant}.`)
      terminal.note(`Encoded ${formatBytes(madeBytes)} in ${seconds.toFixed(1)} s, ${formatBytes(madeBytes / seconds)}/s${last.keptBytes > 0 ? `; ${formatBytes(last.keptBytes)} were there before` : ''}.`)
    })(options)
  })
}
