import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { demoBundle, ROOT } from '../../scripts/demo-bundle.js'
import { jsonLines } from '../fixtures/run-cli.js'
import { reference } from '../fixtures/reference.js'

const execute = promisify(execFile)

/** npm's words for a registry that cannot be reached. */
const UNREACHABLE = /ENOTFOUND|ECONNREFUSED|ETIMEDOUT|ECONNRESET|EAI_AGAIN|ENETUNREACH|ERR_SOCKET_TIMEOUT/

const INSTALL_TIMEOUT_MS = 240_000

/** What a user of the library may write: it must compile against the package's types and run. */
const PROGRAM = `
import { SwarmClient, type GenerateEvent } from 'moeswarm'
const client = await SwarmClient.open({ model: process.argv[2], localLayers: 'all' })
const events: AsyncIterable<GenerateEvent> = client.generate(client.encode('One day'), { maxTokens: 3, sampling: { temperature: 0, topK: 0, topP: 1, seed: 1 } })
for await (const event of events) if (event.type === 'done') console.log(event.generation.tokens.length)
await client.close()
`

describe('the package', function () {
  this.timeout(INSTALL_TIMEOUT_MS + 60_000)
  let scratch: string
  let project: string

  before(async function () {
    scratch = await mkdtemp(join(tmpdir(), 'moeswarm-package-'))
    project = join(scratch, 'project')
    await mkdir(project)
    await writeFile(join(project, 'package.json'), '{ "private": true, "type": "module" }')
    // Without the scripts: prepare would build dist again under the tests that run from it.
    const { stdout } = await execute('npm', ['pack', ROOT, '--ignore-scripts', '--json', '--pack-destination', scratch], { cwd: scratch, timeout: 60_000 })
    const [{ filename }] = JSON.parse(stdout) as Array<{ filename: string }>
    try {
      await execute('npm', ['install', join(scratch, filename), '--prefer-offline', '--no-audit', '--no-fund', '--fetch-retries=1'], {
        cwd: project, timeout: INSTALL_TIMEOUT_MS, env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' }
      })
    } catch (error) {
      const { stderr = '' } = error as { stderr?: string }
      if (!UNREACHABLE.test(stderr)) throw error
      process.stdout.write('    skipped: no npm registry can be reached from here\n')
      this.skip()
    }
  })

  after(async () => { await rm(scratch, { recursive: true }) })

  const moeswarm = async (...args: string[]): Promise<string> => {
    const { stdout } = await execute(join(project, 'node_modules', '.bin', 'moeswarm'), args, { cwd: project, timeout: 60_000 })
    return stdout
  }

  it('installs from an empty directory, and the command is there', async () => {
    assert.match(await moeswarm('--help'), /Commands:[^]*peer[^]*generate/)
    assert.match(await moeswarm('--version'), /^\d+\.\d+\.\d+\n$/)
    const others = await readFile(join(project, 'node_modules/moeswarm/dist/node/cli/THIRD-PARTY.txt'), 'utf8')
    for (const name of ['libp2p', '@libp2p/kad-dht', 'commander', 'zod']) assert.match(others, new RegExp(`^${name} \\d+\\.\\d+\\.\\d+ \\(`, 'm'), 'the licence of what the program contains')
  })

  it('generates the reference\'s tokens', async () => {
    const { text, greedy_ids: tokens } = reference.prompts[1]
    const stdout = await moeswarm('generate', '--model', await demoBundle('f32'), '--local-layers', 'all', '--temperature', '0', '--max-tokens', '8', '--prompt', text, '--json')
    assert.deepEqual(jsonLines(stdout).at(-1)!.tokens, tokens.slice(0, 8))
  })

  it('is a library with types', async () => {
    await writeFile(join(project, 'program.ts'), PROGRAM)
    const tsc = [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '--module', 'nodenext', '--target', 'es2023', '--strict', '--skipLibCheck', '--types', 'node', '--typeRoots', join(ROOT, 'node_modules', '@types'), 'program.ts']
    await execute(process.execPath, tsc, { cwd: project, timeout: 120_000 })
    const { stdout } = await execute(process.execPath, ['program.js', await demoBundle('f32')], { cwd: project, timeout: 60_000 })
    assert.equal(stdout.trim(), '3')
  })
})
