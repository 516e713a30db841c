import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Terminal, table } from '../node/cli/terminal.js'
import { killedConversion } from './killed-conversion.js'

// node dist/scripts/convert-kill.js [kills]: a conversion of the demo model that is killed at random moments, beside one that is left alone.

const DEFAULT_KILLS = 10
/** Many small files, so that a kill falls between any two steps. */
const ARGS = ['--quant', 'q8', '--block-experts', '2']

const terminal = new Terminal({ json: process.argv.includes('--json') })
const kills = Number(process.argv.slice(2).find(arg => /^\d+$/.test(arg)) ?? DEFAULT_KILLS)
const dir = await mkdtemp(join(tmpdir(), 'moeswarm-kill-'))
try {
  const result = await killedConversion(resolve('model-tools/demo-model'), dir, kills, ARGS)
  terminal.event('killed-conversion', result)
  terminal.result(`${table(['killed after ms', 'files whole by then'], result.kills.map(({ afterMs, files }) => [afterMs.toFixed(0), String(files)]))}\n
Left alone it takes ${result.straightMs.toFixed(0)} ms from its lock to its end. After ${kills} kills and resumptions the bundle is ${result.isEqual ? 'byte-identical' : 'DIFFERENT'}.\n`)
  if (!result.isEqual) process.exitCode = 1
} finally {
  await rm(dir, { recursive: true })
}
