import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type PeerProcess, startPeerProcess } from '../../scripts/peer-process.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { reference } from '../fixtures/reference.js'
import { jsonLines, runCli } from '../fixtures/run-cli.js'

const { text: prompt, greedy_ids: expected } = reference.prompts[0]
const GREEDY = ['--temperature', '0']
const SAMPLED = ['--temperature', '1', '--top-k', '0', '--top-p', '1', '--seed', '7']

describe('moeswarm generate that is cut short', function () {
  this.timeout(180_000)
  let model: string
  let dir: string
  let peer: PeerProcess | undefined
  let env: Record<string, string>

  before(async () => { model = await demoBundle('f32') })
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'moeswarm-resume-'))
    env = { XDG_STATE_HOME: join(dir, 'state') }
  })
  afterEach(async () => {
    await peer?.stop('SIGKILL')
    peer = undefined
    await rm(dir, { recursive: true })
  })

  const local = (): string[] => ['generate', '--model', model, '--local-layers', 'all', '--json']
  const asked = (sampling: string[]): string[] => ['--prompt', prompt, '--max-tokens', String(expected.length), ...sampling]
  const tokensOf = (stdout: string): number[] => jsonLines(stdout).find(({ event }) => event === 'done')!.tokens as number[]

  for (const { what, sampling } of [{ what: 'greedily', sampling: GREEDY }, { what: 'by chance', sampling: SAMPLED }]) {
    it(`at Ctrl-C goes on from its file with the same tokens, chosen ${what}`, async () => {
      const unbroken = await runCli([...local(), ...asked(sampling)], { env })
      const whole = tokensOf(unbroken.stdout)
      if (sampling === GREEDY) assert.deepEqual(whole, expected)
      const file = join(dir, 'saved', 'text.json')
      let tokens = 0
      const cut = await runCli([...local(), ...asked(sampling), '--draft', 'none', '--save', file], {
        env, onLine: (line, child) => { if (line.includes('"event":"token"') && ++tokens === 9) child.kill('SIGINT') }
      })
      assert.equal(cut.code, 130, cut.stderr)
      assert.equal((await stat(file)).mode & 0o777, 0o600)
      const { tokens: kept, id } = JSON.parse(await readFile(file, 'utf8')) as { tokens: number[], id: string }
      assert.ok(kept.length >= 9 && kept.length < whole.length, `${kept.length} tokens`)
      assert.ok(cut.stderr.includes(`moeswarm generate --json --model ${model} --local-layers all --draft none --resume ${file}`), cut.stderr)
      const resumed = await runCli([...local(), '--resume', file], { env })
      assert.equal(resumed.code, 0, resumed.stderr)
      assert.deepEqual(tokensOf(resumed.stdout), whole)
      const [restored] = jsonLines(resumed.stdout).filter(({ event }) => event === 'restored')
      assert.deepEqual([restored.because, restored.tokens], ['resumed', kept])
      const kept2 = JSON.parse(await readFile(file, 'utf8')) as { tokens: number[], id: string }
      assert.deepEqual([kept2.tokens, kept2.id], [whole, id])
      // What a person sees is the whole text, too.
      await writeFile(file, JSON.stringify({ ...kept2, tokens: kept }))
      const text = async (args: string[]): Promise<string> => (await runCli(['generate', '--model', model, '--local-layers', 'all', '--quiet', ...args], { env })).stdout
      assert.equal(await text(['--resume', file]), await text(asked(sampling)))
    })
  }

  it('because its last peer is gone says how to go on, and does', async () => {
    peer = await startPeerProcess(['--model', model, '--threads', '1'])
    const swarm = (): string[] => ['--model', model, '--bootstrap', peer!.addresses[0], '--wire', 'fp32']
    let tokens = 0
    const failed = await runCli(['generate', ...swarm(), '--copy-memory', '0', '--patience', '0.5', '--json', ...asked(GREEDY)], {
      env, onLine: line => { if (line.includes('"event":"token"') && ++tokens === 9) void peer!.stop('SIGKILL') }
    })
    assert.equal(failed.code, 1)
    assert.equal(jsonLines(failed.stdout).at(-1)!.code, 'experts-unavailable')
    assert.match(failed.stderr, /layer \d/)
    const [, id] = /To go on: moeswarm generate .* --resume (\S+)/.exec(failed.stderr) ?? assert.fail(failed.stderr)
    assert.deepEqual(await readdir(join(dir, 'state', 'moeswarm', 'generations')), [`${id}.json`])
    peer = await startPeerProcess(['--model', model, '--threads', '1'])
    const resumed = await runCli(['generate', ...swarm(), '--json', '--resume', id], { env })
    assert.equal(resumed.code, 0, resumed.stderr)
    assert.deepEqual(tokensOf(resumed.stdout), expected)
  })

  it('is refused where the file is none, or of another model', async () => {
    const refusal = async (what: string): Promise<string> => {
      const { code, stderr } = await runCli([...local(), '--resume', what], { env })
      assert.equal(code, 1)
      return stderr
    }
    assert.match(await refusal('20261128000000-abcdef'), /no saved generation/)
    const file = join(dir, 'x.json')
    await writeFile(file, '{"format":1}')
    assert.match(await refusal(file), /no saved generation/)
    await writeFile(file, JSON.stringify({ format: 1, id: 'x', modelId: '00'.repeat(32), promptTokens: [2], tokens: [5], maxTokens: 9, sampling: { temperature: 0, topK: 0, topP: 1, seed: 0 } }))
    assert.match(await refusal(file), /of model 000000000000/)
    for (const ignored of [['--prompt', 'x'], ['--max-tokens', '9']]) {
      const { code, stderr } = await runCli([...local(), '--resume', file, ...ignored], { env })
      assert.equal(code, 1)
      assert.match(stderr, new RegExp(`leave out ${ignored[0]}`))
    }
  })
})
