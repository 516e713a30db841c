import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ROOT } from '../../scripts/demo-bundle.js'

const run = promisify(execFile)

/** The programs behind `npm run`, but those of npm's own life cycle and `npm start`, whose words are a prompt. */
async function programs (): Promise<Array<[name: string, file: string]>> {
  const { scripts } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
  return Object.entries(scripts).flatMap(([name, command]): Array<[string, string]> => {
    const file = /^node (dist\/\S+\.js)$/.exec(command)?.[1]
    return file === undefined || name === 'start' ? [] : [[name, join(ROOT, file)]]
  })
}

describe('npm run ... -- --help', function () {
  this.timeout(60_000)

  it('says what a program does, and runs nothing, of every bench and of what else there is', async () => {
    const all = await programs()
    assert.ok(all.filter(([name]) => name.startsWith('bench:')).length >= 11)
    const says = async ([name, file]: [string, string]): Promise<void> => {
      const { stdout, stderr } = await run(process.execPath, [file, '--help'])
      assert.match(stdout, new RegExp(`^npm run ${name}\\b`), name)
      assert.match(stdout, /--json/, name)
      assert.equal(stderr, '', name)
    }
    // A process for each core of a small machine: all that they do is to load.
    await Promise.all([0, 1].map(async half => { for (const one of all.filter((_, i) => i % 2 === half)) await says(one) }))
  })

  it('is where a wrong option leads to, with exit code 2', async () => {
    const convert = (await programs()).find(([name]) => name === 'bench:convert')![1]
    await assert.rejects(run(process.execPath, [convert, '--no-such-option']), { code: 2, stdout: '', stderr: /^convert: Unknown option '--no-such-option'.* See --help\.\n$/ })
    await assert.rejects(run(process.execPath, [convert, '--layers', 'three']), { code: 2, stdout: '', stderr: 'convert: --layers takes counts above zero, not "three". See --help.\n' })
  })
})
