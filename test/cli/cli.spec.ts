import assert from 'node:assert/strict'
import { cp, mkdtemp, open, readdir, rm, truncate } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DEMO_CHECKPOINT, demoBundle } from '../../scripts/demo-bundle.js'
import { jsonLines, runCli } from '../fixtures/run-cli.js'
import { reference } from '../fixtures/reference.js'

/** One sentence on stderr, no stack trace. */
function assertClearError ({ code, stderr }: { code: number | null, stderr: string }, pattern: RegExp): void {
  assert.notEqual(code, 0)
  assert.match(stderr, pattern)
  assert.doesNotMatch(stderr, /\n\s+at /)
}

describe('the command line', function () {
  this.timeout(60_000)
  let scratch: string
  let model: string

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'moeswarm-cli-'))
    model = await demoBundle('f32')
  })

  after(async () => { await rm(scratch, { recursive: true }) })

  for (const words of [[], ['convert'], ['peer'], ['generate'], ['fetch'], ['synth'], ['swarm-key'], ['dht', 'peers'], ['dht', 'coverage'], ['dht', 'providers'], ['dht', 'routing-table'], ['dht', 'lookup'], ['dht', 'watch'], ['doctor'], ['explain'], ['config'], ['completion']]) {
    it(`moeswarm ${words.join(' ')} --help suffices`, async () => {
      const { code, stdout } = await runCli([...words, '--help'])
      assert.equal(code, 0)
      assert.match(stdout, words.length === 0 ? /generate/ : /Example:\n {2}\$ .*moeswarm /)
    })
  }

  it('converts, and the bundle generates the reference\'s tokens without a swarm', async () => {
    const out = join(scratch, 'bundle')
    const converted = await runCli(['convert', DEMO_CHECKPOINT, '--out', out, '--quant', 'f32', '--json'])
    assert.equal(converted.code, 0, converted.stderr)
    assert.match(String(jsonLines(converted.stdout).at(-1)!.model), /^[0-9a-f]{64}$/)
    const { text, ids, greedy_ids: tokens, greedy_text: greedy } = reference.prompts[1]
    const args = ['generate', '--model', out, '--local-layers', 'all', '--temperature', '0', '--max-tokens', String(tokens.length)]
    const generated = await runCli([...args, '--prompt', text, '--json'])
    assert.equal(generated.code, 0, generated.stderr)
    const lines = jsonLines(generated.stdout)
    const done = lines.at(-1)!
    assert.deepEqual(done.promptTokens, ids)
    assert.deepEqual(done.tokens, tokens)
    assert.deepEqual(lines.filter(line => line.event === 'token').map(line => line.id), tokens)
    assert.ok((done.tokensPerSecond as number) > 0 && (done.lap as { total: number }).total > 0)
    const piped = await runCli([...args, '--quiet'], { stdin: text })
    assert.equal(piped.code, 0, piped.stderr)
    assert.equal(piped.stdout, `${text}${greedy}\n`)
    assert.equal(piped.stderr, '')
  })

  it('gives equal texts for equal seeds', async () => {
    const story = async (seed: string): Promise<string> => (await runCli(['generate', '--model', model, '--local-layers', 'all', '--prompt', 'One day', '--seed', seed, '--max-tokens', '30'])).stdout
    const first = await story('5')
    assert.equal(await story('5'), first)
    assert.notEqual(await story('6'), first)
  })

  it('answers a chat turn by the model\'s template', async () => {
    const chat = reference.prompts.find(prompt => prompt.chat)!
    const { code, stdout, stderr } = await runCli(['generate', '--model', model, '--local-layers', 'all', '--chat', '--prompt', chat.text, '--temperature', '0', '--max-tokens', '20', '--json'])
    assert.equal(code, 0, stderr)
    const done = jsonLines(stdout).at(-1)!
    assert.deepEqual(done.promptTokens, chat.ids)
    assert.deepEqual(done.tokens, chat.greedy_ids.slice(0, 20))
  })

  describe('bad input', () => {
    const generate = (...args: string[]): ReturnType<typeof runCli> => runCli(['generate', '--model', model, '--local-layers', 'all', ...args])

    it('a checkpoint that is not there', async () => {
      assertClearError(await runCli(['convert', join(scratch, 'nothing'), '--out', join(scratch, 'x')]), /nothing/)
    })

    it('a bundle in the place of a checkpoint', async () => {
      assertClearError(await runCli(['convert', model, '--out', join(scratch, 'x')]), /is a bundle already; convert takes the checkpoint/)
    })

    it('a bundle that is not there', async () => {
      assertClearError(await runCli(['generate', '--model', scratch, '--local-layers', 'all', '--prompt', 'x']), /holds no model bundle.*moeswarm convert.*moeswarm fetch/)
    })

    for (const { name, damage } of [
      { name: 'truncated', damage: async (file: string) => { await truncate(file, 1000) } },
      { name: 'corrupted', damage: async (file: string) => {
        const handle = await open(file, 'r+')
        await handle.write(Uint8Array.of(1, 2, 3, 4, 5), 0, 5, 5000)
        await handle.close()
      } }
    ]) {
      it(`a ${name} bundle names its file, for client and peer`, async () => {
        const bad = join(scratch, name)
        await cp(model, bad, { recursive: true })
        const [block] = await readdir(join(bad, 'experts', 'layer-03'))
        await damage(join(bad, 'experts', 'layer-03', block))
        assertClearError(await runCli(['generate', '--model', bad, '--local-layers', 'all', '--prompt', 'x']), new RegExp(`layer-03/${block}`))
        assertClearError(await runCli(['peer', '--model', bad]), new RegExp(`layer-03/${block}`))
      })
    }

    it('a prompt longer than the context', async () => {
      assertClearError(await generate('--prompt-ids', Array<number>(513).fill(5).join(',')), /513 tokens.*512: shorten/)
    })

    it('a token id out of range', async () => {
      assertClearError(await generate('--prompt-ids', '2,4096'), /4096.*0 to 4095/)
    })

    it('prompt ids that are no numbers', async () => {
      assertClearError(await generate('--prompt-ids', '2,x'), /separated by commas/)
    })

    it('an empty prompt on stdin', async () => {
      assertClearError(await generate(), /empty.*--prompt/)
    })

    it('a temperature below 0', async () => {
      assertClearError(await generate('--prompt', 'x', '--temperature=-1'), /temperature/i)
    })

    it('no swarm and no local layers', async () => {
      assertClearError(await runCli(['generate', '--model', model, '--prompt', 'x']), /--bootstrap.*--local-layers all/)
    })

    it('a model that is not there before a swarm that is not named', async () => {
      for (const command of ['chat', 'serve']) assertClearError(await runCli([command, '--model', join(scratch, 'nowhere')]), /nowhere holds no model bundle/)
    })

    it('a bootstrap address that does not answer', async () => {
      const address = '/ip4/127.0.0.1/tcp/9/p2p/12D3KooWC339fpnrrVJQG6QD5N8Rpx46gkXPSRkXyetXczavdGZk'
      assertClearError(await runCli(['generate', '--model', model, '--prompt', 'x', '--bootstrap', address]), /127\.0\.0\.1\/tcp\/9/)
      assertClearError(await runCli(['peer', '--model', model, '--layers', '0', '--bootstrap', address]), /127\.0\.0\.1\/tcp\/9/)
    })

    it('a bootstrap address that is none', async () => {
      assertClearError(await runCli(['dht', 'routing-table', '--bootstrap', 'localhost:4001']), /localhost:4001/)
    })

    it('a port in use', async () => {
      const server = createServer()
      await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
      const { port } = server.address() as AddressInfo
      assertClearError(await runCli(['peer', '--model', model, '--layers', '0', '--listen', `/ip4/127.0.0.1/tcp/${port}`]), new RegExp(`tcp/${port}`))
      server.close()
    })

    it('layers and experts outside of the model, experts that cut a block', async () => {
      assertClearError(await runCli(['peer', '--model', model, '--layers', '4-6']), /layers 0-5/)
      assertClearError(await runCli(['peer', '--model', model, '--experts', '30-40']), /experts 0-31/)
      assertClearError(await runCli(['peer', '--model', model, '--experts', '0-11']), /0-15/)
    })

    it('an unknown command or option exits with 2', async () => {
      assert.equal((await runCli(['genrate'])).code, 2)
      assert.equal((await runCli(['generate', '--modle', 'x'])).code, 2)
      assert.equal((await runCli(['convert', 'x', '--out', 'y', '--quant', 'q3'])).code, 2)
    })

    it('reports errors as JSON too', async () => {
      const { stdout } = await generate('--prompt-ids', '2,4096', '--json')
      assert.deepEqual(jsonLines(stdout).map(({ event, code }) => ({ event, code })), [{ event: 'error', code: 'out-of-range' }])
    })
  })
})
