import { parseArgs } from 'node:util'
import { table, Terminal } from '../../node/cli/terminal.js'
import { fuzz, type FuzzResult } from './run.js'
import { fuzzTargets } from './targets.js'

// npm run fuzz -- --inputs 1000000 --seed 1 [--target expert-requests] [--json]: every decoder that sees bytes of strangers, fed with
// changed and random ones. Each target gets its share of the inputs. Exit code 1 when anything was found.

const { values } = parseArgs({ options: { inputs: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' }, target: { type: 'string' }, json: { type: 'boolean', default: false } } })
const [inputs, seed] = [Number(values.inputs), Number(values.seed)]
const terminal = new Terminal({ json: values.json })
const targets = (await fuzzTargets()).filter(({ name }) => values.target === undefined || name === values.target)
if (targets.length === 0 || !Number.isInteger(inputs) || !Number.isInteger(seed)) {
  process.stderr.write(`fuzz: --inputs and --seed are whole numbers, --target is one of ${(await fuzzTargets()).map(({ name }) => name).join(', ')}.\n`)
  process.exit(2)
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
