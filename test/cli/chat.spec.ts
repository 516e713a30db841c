import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MessageInput } from '../../node/cli/chat/message-input.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { CLI } from '../../scripts/peer-process.js'
import { jsonLines, runCli } from '../fixtures/run-cli.js'

describe('messages of several lines', () => {
  const TABLE: Array<{ name: string, lines: string[], messages: string[] }> = [
    { name: 'one line', lines: ['a', 'b'], messages: ['a', 'b'] },
    { name: 'a backslash', lines: ['a\\', 'b\\', 'c', 'd'], messages: ['a\nb\nc', 'd'] },
    { name: 'a fence', lines: ['"""', 'a', '', 'b', '"""', 'c'], messages: ['a\n\nb', 'c'] },
    { name: 'a fence with text on its lines', lines: ['"""a', 'b"""'], messages: ['a\nb'] },
    { name: 'a fence on one line', lines: ['"""a"""'], messages: ['a'] },
    { name: 'a fence that does not end', lines: ['"""', 'a'], messages: ['a'] },
    { name: 'a backslash in a fence', lines: ['"""', 'a\\', '"""'], messages: ['a\\'] }
  ]
  for (const { name, lines, messages } of TABLE) {
    it(name, () => {
      const input = new MessageInput()
      const out = [...lines.map(line => input.push(line)), input.end()].filter(message => message !== undefined)
      assert.deepEqual(out, messages)
    })
  }
})

describe('moeswarm chat', function () {
  this.timeout(120_000)
  let model: string
  let scratch: string

  before(async () => {
    model = await demoBundle('f32')
    scratch = await mkdtemp(join(tmpdir(), 'moeswarm-chat-test-'))
  })
  after(async () => { await rm(scratch, { recursive: true }) })

  const args = (...more: string[]): string[] => ['chat', '--model', model, '--local-layers', 'all', '--threads', '1', '--temperature', '0', '--max-tokens', '12', ...more]

  it('answers what is piped in, line by line, and remembers it', async () => {
    const saved = join(scratch, 'saved.json')
    const { code, stdout, stderr } = await runCli(args(), { stdin: `Tell me a story about a dog.\nGo\\\non.\n/save ${saved}\n/stats\n/set temperature 3 \n/set what 1\n/nothing\n` })
    assert.equal(code, 0, stderr)
    const { messages } = JSON.parse(await readFile(saved, 'utf8')) as { messages: Array<{ role: string, content: string }> }
    assert.deepEqual(messages.map(({ role }) => role), ['user', 'assistant', 'user', 'assistant'])
    assert.equal(messages[2].content, 'Go\non.')
    assert.equal(stdout, `${messages[1].content}\n${messages[3].content}\n`)
    assert.match(stderr, /Saved 4 messages[^]*tok\/s[^]*attention and router[^]*temperature 3[^]*no setting what[^]*no \/nothing/)
    assert.equal((await stat(saved)).mode & 0o777, 0o600)

    const again = await runCli(args('--json'), { stdin: `/load ${saved}\n/load ${join(model, 'manifest.json')}\nMore.\n/reset\nTell me a story about a dog.\n/quit\nnever\n` })
    const done = jsonLines(again.stdout).filter(({ event }) => event === 'done')
    assert.equal(done.length, 2)
    assert.ok(Number(done[0].promptTokens) > Number(done[1].promptTokens))
    assert.match(again.stderr, /Loaded 4 messages[^]*is no conversation/)
    const text = jsonLines(again.stdout).filter(({ event }) => event === 'text').map(line => line.text).join('')
    assert.ok(text.endsWith(messages[1].content), 'a new conversation begins like the first one')
  })

  it('says that the conversation no longer fits, and goes on', async () => {
    const { code, stdout, stderr } = await runCli(args(), { stdin: `${'word '.repeat(900)}\n/reset\nHello.\n` })
    assert.equal(code, 0)
    assert.match(stderr, /context ends at 512[^]*\/reset/)
    assert.match(stdout, /\w/)
  })

  /** The chat in a terminal of its own, made by script(1). `on` is told all that has been shown whenever there is more. */
  async function inTerminal (more: string[], on: (shown: string, type: (keys: string) => void, child: ChildProcess) => void): Promise<{ code: number | null, shown: string }> {
    const line = [process.execPath, CLI, ...args(...more)].map(part => `'${part}'`).join(' ')
    const child = spawn('script', ['-qefc', line, '/dev/null'], { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, XDG_STATE_HOME: scratch, TERM: 'xterm', NO_COLOR: '1' } })
    let shown = ''
    child.stdout.on('data', (chunk: Buffer) => {
      shown += chunk.toString()
      on(shown, keys => { child.stdin.write(keys) }, child)
    })
    const [code] = await once(child, 'close') as [number | null]
    return { code, shown }
  }

  it('in a terminal: Ctrl-C stops the answer and not the program, and twice at the empty prompt ends it', async () => {
    let step = 0
    let answerAt = 0
    const { code, shown } = await inTerminal(['--max-tokens', '450', '--temperature', '1'], (text, type) => {
      if (step === 0 && text.includes('> ')) {
        step = 1
        type('Write a short story.\r')
      } else if (step === 1 && /story\.\r+\n.*\w{3}/.test(text)) {
        step = 2
        answerAt = text.length
        type('\u0003')
      } else if (step === 2 && text.includes('(stopped)')) {
        step = 3
        type('\u0003')
      } else if (step === 3 && text.includes('once more ends')) {
        step = 4
        type('\u0003')
      }
    })
    assert.equal(step, 4, shown)
    assert.equal(code, 0)
    assert.ok(answerAt > 0)
    const history = join(scratch, 'moeswarm', 'chat-history')
    assert.equal(await readFile(history, 'utf8'), 'Write a short story.\n')
    assert.equal((await stat(history)).mode & 0o777, 0o600)
  })

  it('in a terminal: offers what was typed before, and ends with Ctrl-D', async () => {
    let step = 0
    const { code, shown } = await inTerminal([], (text, type) => {
      if (step === 0 && text.includes('> ')) {
        step = 1
        type('\u001b[A')
      } else if (step === 1 && text.includes('Write a short story.')) {
        step = 2
        type('\u0015\u0004')
      }
    })
    assert.equal(step, 2, shown)
    assert.equal(code, 0)
  })
})
