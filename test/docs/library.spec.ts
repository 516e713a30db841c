import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { SwarmPeer } from '../../node/index.js'
import { demoBundle, ROOT } from '../../scripts/demo-bundle.js'

/** What each example of docs/library.md prints, in their order. */
const OUTPUT = [
  /^\W+there[^]+\nlength, \d+\.\d tok\/s\n$/,
  /^3 stories\nstopped\nout-of-range The prompt is empty[^]+$/,
  /^(" ?[^ ]+" [01]\.\d{3}( {2}|\n)){9}$/,
  /^[23]\d laps without, 1?\d with drafts\n$/,
  /^12D3\w+ hosts 8 blocks; the others: 1\ndemo-q8:[0-9a-f]{12}\n$/
]

describe('examples of docs/library.md', function () {
  this.timeout(120_000)
  // Below the package, so that 'moeswarm' names it, as it does in node_modules of a user.
  const dir = join(ROOT, '.build', `examples-${process.pid}`)
  let peer: SwarmPeer
  let examples: string[]

  before(async () => {
    const text = await readFile(join(ROOT, 'docs', 'library.md'), 'utf8')
    examples = [...text.matchAll(/^```js\n([^]*?)^```$/gm)].map(match => match[1])
    await mkdir(dir, { recursive: true })
    peer = await SwarmPeer.start({ model: await demoBundle('q8'), threads: 1 })
  })
  after(async () => {
    await peer.stop()
    await rm(dir, { recursive: true })
  })

  it('are as many as this test knows', () => { assert.equal(examples.length, OUTPUT.length) })

  for (const [i, expected] of OUTPUT.entries()) {
    it(`number ${i + 1} runs and prints what it says`, async () => {
      const file = join(dir, `example-${i}.mjs`)
      await writeFile(file, examples[i])
      const { stdout } = await promisify(execFile)(process.execPath, [file, await demoBundle('q8'), peer.addresses[0]])
      assert.match(stdout, expected)
    })
  }
})

describe('npm run docs:api', function () {
  this.timeout(120_000)

  it('writes the reference without a warning', async () => {
    await promisify(execFile)(process.execPath, [join(ROOT, 'node_modules', 'typedoc', 'bin', 'typedoc'), '--emit', 'none'], { cwd: ROOT })
  })
})
