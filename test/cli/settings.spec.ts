import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { type CliResult, jsonLines, runCli } from '../fixtures/run-cli.js'

interface OptionRow { command: string, option: string, value: unknown, source: string }

describe('settings from files and variables', function () {
  this.timeout(60_000)
  let cwd: string
  let xdg: string

  beforeEach(async () => {
    cwd = await mkdtemp(join(tmpdir(), 'moeswarm-settings-'))
    xdg = join(cwd, 'xdg')
    await mkdir(join(xdg, 'moeswarm'), { recursive: true })
  })

  afterEach(async () => { await rm(cwd, { recursive: true }) })

  const run = async (args: string[], env: Record<string, string> = {}): Promise<CliResult> => await runCli(args, { cwd, env: { XDG_CONFIG_HOME: xdg, ...env } })
  const project = async (text: string, name = 'moeswarm.config.json'): Promise<void> => { await writeFile(join(cwd, name), text) }
  const user = async (text: string): Promise<void> => { await writeFile(join(xdg, 'moeswarm', 'config.json'), text) }
  const settings = async (command: string, env?: Record<string, string>): Promise<Map<string, OptionRow>> => {
    const { code, stdout, stderr } = await run(['config', ...command.split(' '), '--json'], env)
    assert.equal(code, 0, stderr)
    return new Map(jsonLines(stdout).map(line => line as unknown as OptionRow).map(row => [row.option, row]))
  }

  it('come from the nearest: variable, file here, file of the user, default', async () => {
    await project('{ /* all */ "bootstrap": ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2"], "generate": { "max-tokens": 5, "seed": 1, }, }')
    await user('{ "generate": { "max-tokens": 6, "top-k": 7 }, "temperature": 0.5 }')
    const rows = await settings('generate', { MOESWARM_SEED: '2' })
    assert.deepEqual(rows.get('bootstrap')?.value, ['/ip4/127.0.0.1/tcp/1', '/ip4/127.0.0.1/tcp/2'])
    assert.deepEqual([rows.get('seed')?.value, rows.get('seed')?.source], [2, 'env MOESWARM_SEED'])
    assert.deepEqual([rows.get('max-tokens')?.value, rows.get('max-tokens')?.source], [5, `${join(cwd, 'moeswarm.config.json')}: generate.max-tokens`])
    assert.deepEqual([rows.get('top-k')?.value, rows.get('temperature')?.value], [7, 0.5])
    assert.deepEqual([rows.get('wire')?.value, rows.get('wire')?.source], ['auto', 'default'])
    const others = await settings('dht peers', { MOESWARM_BOOTSTRAP: '/ip4/127.0.0.1/tcp/3 /ip4/127.0.0.1/tcp/4' })
    assert.deepEqual(others.get('bootstrap')?.value, ['/ip4/127.0.0.1/tcp/3', '/ip4/127.0.0.1/tcp/4'])
  })

  it('run a command, and its flags win', async () => {
    const model = await demoBundle('f32')
    await project(JSON.stringify({ model, generate: { 'local-layers': 'all', temperature: 0, 'max-tokens': 3 } }))
    const tokens = async (args: string[], env?: Record<string, string>): Promise<number> => {
      const { code, stdout, stderr } = await run(['generate', '--prompt', 'One day', '--json', ...args], env)
      assert.equal(code, 0, stderr)
      return jsonLines(stdout).filter(line => line.event === 'token').length
    }
    assert.equal(await tokens([]), 3)
    assert.equal(await tokens([], { MOESWARM_MAX_TOKENS: '4' }), 4)
    assert.equal(await tokens(['--max-tokens', '5'], { MOESWARM_MAX_TOKENS: '4' }), 5)
  })

  it('a repeated flag replaces the list of the file', async () => {
    await project('{ "bootstrap": ["/ip4/127.0.0.1/tcp/9"] }')
    const { code, stderr } = await run(['dht', 'routing-table', '--bootstrap', '/ip4/127.0.0.1/tcp/8'])
    assert.equal(code, 1)
    assert.match(stderr, /tcp\/8/)
    assert.doesNotMatch(stderr, /tcp\/9/)
  })

  it('--config and MOESWARM_CONFIG name a file that counts alone', async () => {
    await project('{ "max-tokens": 5 }')
    await project('{ "seed": 1 }', 'other.json')
    const rows = await settings('generate', { MOESWARM_CONFIG: join(cwd, 'other.json') })
    assert.deepEqual([rows.get('seed')?.value, rows.get('max-tokens')?.value], [1, 256])
    assert.match((await run(['config', '--config', 'nothing.json'])).stderr, /no configuration file nothing\.json/)
  })

  const mistakes: Array<[string, string, RegExp]> = [
    ['an unknown key', '{ "peer": { "donat": "4GiB" } }', /"peer\.donat".*did you mean "donate"\?/],
    ['a key in the wrong form', '{ "maxTokens": 4 }', /"maxTokens".*did you mean "max-tokens"\?/],
    ['an option of another command', '{ "peer": { "temperature": 1 } }', /"peer\.temperature" is no option of peer/],
    ['a value that the flag would not take', '{ "peer": { "donate": "much" } }', /peer\.donate: "much" will not do.*4GiB/],
    ['a value of another type', '{ "quiet": "yes" }', /quiet is true or false/],
    ['an object for an option', '{ "donate": { "bytes": 1 } }', /"donate" is an option and not a command/],
    ['a list as the whole', '[]', /must hold an object/],
    ['no JSON', '{\n  "seed": 1\n  "wire": 2 }', /no JSON: CommaExpected at line 3, column 3/]
  ]
  for (const [what, text, message] of mistakes) {
    it(`${what} is refused in a sentence`, async () => {
      await project(text)
      const { code, stderr } = await run(['peer'])
      assert.equal(code, 2)
      assert.match(stderr, message)
      assert.doesNotMatch(stderr, /\n\s+at /)
    })
  }

  it('a bad variable is refused, a misspelt one is told of', async () => {
    assert.match((await run(['generate'], { MOESWARM_SEED: 'x' })).stderr, /MOESWARM_SEED: "x" will not do/)
    assert.match((await run(['config'], { MOESWARM_BOOTSTRP: 'x' })).stderr, /MOESWARM_BOOTSTRP sets no option; did you mean MOESWARM_BOOTSTRAP\?/)
  })

  it('what must be given is missed only when nobody gives it', async () => {
    const missing = await run(['peer'])
    assert.equal(missing.code, 2)
    assert.match(missing.stderr, /'--model <name, id or bundle dir>' not specified, nor MOESWARM_MODEL, nor "model" in a configuration file/)
    assert.match((await run(['peer'], { MOESWARM_MODEL: join(cwd, 'none') })).stderr, /none/)
    assert.equal((await run(['peer'], { MOESWARM_MODEL: join(cwd, 'none') })).code, 1)
  })
})
