import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Terminal, table } from '../../node/cli/terminal.js'
import { Bundle, convertCheckpoint, formatBytes, synthesize } from '../../model-tools/index.js'
import { count, scriptOptions } from '../script-options.js'

const HELP = `npm run bench:convert [-- --layers 3 --rounds 3 --dir DIR --json]

Conversion of the shape of Gemma 4 26B-A4B, its full client part and some of its 30 layers, from bf16 to what convert chooses for it, beside a copy of the same
bytes: the checkpoint is read and written, each in a process of its own, in turn, with everything on the disk at the end.

  --layers <n>  (default: 3)
  --rounds <n>  (default: 3)
  --dir <dir>   where the files are while it runs (default: the system's directory for temporary ones)
`

const SHAPE = 'gemma-4-26b-a4b'
const COPY_BYTES = 8 * 1024 * 1024

interface Measured {
  seconds: number
  peakBytes: number
}

const WORK = { convert, copy }

async function convert (checkpoint: string, out: string): Promise<void> {
  await convertCheckpoint({ checkpoint, out })
}

/** Reads and writes one piece after the other, as the next best program would, and waits for the disk. */
async function copy (checkpoint: string, out: string): Promise<void> {
  const to = await open(out, 'w')
  const piece = new Uint8Array(COPY_BYTES)
  for (const name of (await weightFiles(checkpoint)).sort()) {
    const from = await open(join(checkpoint, name))
    for (;;) {
      const { bytesRead } = await from.read(piece, 0, piece.length)
      if (bytesRead === 0) break
      await to.write(piece, 0, bytesRead)
    }
    await from.close()
  }
  await to.sync()
  await to.close()
}

async function weightFiles (checkpoint: string): Promise<string[]> {
  return (await readdir(checkpoint)).filter(name => name.endsWith('.safetensors'))
}

/** Peak of resident memory, with that of ended threads, in bytes. Linux counts it in KiB. */
function peakBytes (): number {
  return process.resourceUsage().maxRSS * 1024
}

async function inProcess (work: keyof typeof WORK, checkpoint: string, out: string): Promise<Measured> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), work, checkpoint, out], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => { text += chunk.toString() })
  const [code] = await once(child, 'close') as [number | null]
  if (code !== 0) throw new Error(`${work} ended with ${code}`)
  return JSON.parse(text) as Measured
}

async function measure (): Promise<void> {
  const options = scriptOptions(HELP, { layers: { type: 'string', default: '3' }, rounds: { type: 'string', default: '3' }, dir: { type: 'string', default: tmpdir() } })
  const terminal = new Terminal(options)
  const layers = count('layers', options.layers)
  const rounds = count('rounds', options.rounds)
  const dir = await mkdtemp(join(options.dir, 'moeswarm-bench-'))
  try {
    const checkpoint = join(dir, 'checkpoint')
    await synthesize({ shape: SHAPE, layers, format: 'safetensors', out: checkpoint, seed: 1 })
    const sizes = await Promise.all((await weightFiles(checkpoint)).map(async name => (await stat(join(checkpoint, name))).size))
    const inputBytes = sizes.reduce((sum, size) => sum + size, 0)
    const rows: string[][] = []
    let bundleBytes = 0
    for (let round = 0; round < rounds; round++) {
      const out = join(dir, 'bundle')
      const conversion = await inProcess('convert', checkpoint, out)
      bundleBytes = Object.values((await Bundle.open(out)).manifest.files).reduce((sum, { bytes }) => sum + bytes, 0)
      await rm(out, { recursive: true })
      const copyFile = join(dir, 'copy')
      const copied = await inProcess('copy', checkpoint, copyFile)
      await rm(copyFile)
      terminal.event('round', { inputBytes, bundleBytes, conversion, copy: copied })
      const rate = ({ seconds }: Measured): string => (inputBytes / seconds / 1e6).toFixed(0)
      rows.push([conversion.seconds.toFixed(1), rate(conversion), formatBytes(conversion.peakBytes), copied.seconds.toFixed(1), rate(copied), (copied.seconds / conversion.seconds).toFixed(2)])
    }
    const cpu = /model name\s*:\s*(.+)/.exec(await readFile('/proc/cpuinfo', 'utf8').catch(() => ''))?.[1] ?? 'unknown'
    terminal.result(`${table(['convert s', 'MB/s', 'peak memory', 'copy s', 'MB/s', 'of copying'], rows)}\n
${formatBytes(inputBytes)} of bf16 read, a bundle of ${formatBytes(bundleBytes)} written: the client part and ${layers} of 30 layers. MB are 10^6 bytes of the checkpoint. CPU: ${cpu}.\n`)
  } finally {
    await rm(dir, { recursive: true })
  }
}

const [, , work, checkpoint, out] = process.argv
if (work === 'convert' || work === 'copy') {
  const started = performance.now()
  await WORK[work](checkpoint, out)
  const measured: Measured = { seconds: (performance.now() - started) / 1000, peakBytes: peakBytes() }
  process.stdout.write(JSON.stringify(measured))
} else {
  await measure()
}
