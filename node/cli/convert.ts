import { Option, type Command } from 'commander'
import { convertCheckpoint, type WeightFormat } from '../../model-tools/index.js'
import { action, command, parse } from './command.js'
import { formatBytes, type OutputOptions } from './terminal.js'

interface ConvertOptions extends OutputOptions {
  out: string
  quant: WeightFormat
  blockExperts: number
}

export function convertCommand (): Command {
  const convert = command('convert', 'Turn a checkpoint into a bundle that peers and clients load.', 'moeswarm convert ./gemma-4-26b-a4b --out ./gemma-4-26b-a4b.bundle --quant q4')
    .argument('<checkpoint dir>', 'directory with config.json, tokenizer.json and *.safetensors')
    .requiredOption('--out <bundle dir>', 'where the bundle is written; a broken-off conversion goes on from where it was')
    .addOption(new Option('--quant <format>', 'how weights are stored: 4 or 8 bits in blocks of 32, half or full precision').choices(['q4', 'q8', 'f16', 'f32']).default('q4'))
    .option('--block-experts <n>', 'experts in a block, the unit that peers host', parse.count(1), 16)
  return convert.action(async (checkpoint: string, options: ConvertOptions) => {
    await action<ConvertOptions>(async ({ out, quant, blockExperts }, { terminal, signal }) => {
      const show = terminal.progress('Converting', 'bytes')
      const bundle = await convertCheckpoint({
        checkpoint, out, quant, blockExperts, signal, onProgress: ({ doneBytes, totalBytes }) => { show(doneBytes, totalBytes) }
      })
      terminal.endProgress()
      const bytes = Object.values(bundle.manifest.files).reduce((sum, file) => sum + file.bytes, 0)
      terminal.event('done', { model: bundle.id, out, bytes, blocks: bundle.blocks.length })
      terminal.note(`Bundle ${out}: model ${bundle.id.slice(0, 12)}, ${formatBytes(bytes)}, ${bundle.blocks.length} blocks of up to ${blockExperts} experts, ${quant}.`)
    })(options)
  })
}
