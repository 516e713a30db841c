import { table, Terminal } from '../../node/cli/terminal.js'
import { scriptOptions, wrongUse } from '../script-options.js'
import { fuzz, type FuzzResult } from './run.js'
import { fuzzTargets } from './targets.js'

const HELP = `npm run fuzz [-- --inputs 1000000 --seed 1 --target expert-requests --json]

Every decoder that sees bytes of strangers, fed with changed and random ones. Exit code 1 when anything was found.

  --inputs <n>     of which each decoder gets its share (default: 100000)
  --seed <n>       which inputs (default: 1)
  --target <name>  one decoder only; a name that there is not lists them
`

const values = scriptOptions(HELP, { inputs: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' }, target: { type: 'string' } })
const [inputs, seed] = [Number(values.inputs), Number(values.seed)]
const terminal = new Terminal(values)
const targets = (await fuzzTargets()).filter(({ name }) => values.target === undefined || name === values.target)
if (targets.length === 0 || !Number.isInteger(inputs) || !Number.isInteger(seed)) {
  wrongUse(`--inputs and --seed are whole numbers, --target is one of ${(await fuzzTargets()).map(({ name }) => name).join(', ')}.`)
}
const results: FuzzResult[] = []
for (const target of targets) {
  const result = await fuzz(target, Math.ceil(inputs * target.share), seed)
  terminal.event('fuzzed', result)
  terminal.note(`${target.name}: ${result.inputs} inputs in ${result.seconds.toFixed(1)} s`)
  for (const { input, hex, what } of result.findings) terminal.note(`  ${input} ${what}\n  ${hex}`)
  results.push(result)
}
terminal.result(`${table(['decoder', 'inputs', 'accepted', 'refused', 'inputs/s', 'slowest ms', 'findings'], results.map(result => [
  result.target, String(result.inputs), String(result.accepted), Object.entries(result.refused).map(([code, count]) => `${code} ${count}`).join(', '),
  (result.inputs / result.seconds).toFixed(0), result.slowestMs.toFixed(1), String(result.findings.length)
]))}\n`)
if (results.some(({ findings }) => findings.length > 0)) process.exitCode = 1
