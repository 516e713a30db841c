import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Bundle } from '../../node/index.js'
import { ROOT } from '../../scripts/demo-bundle.js'
import { type PeerProcess, startPeerProcess } from '../../scripts/peer-process.js'
import { runCli } from '../fixtures/run-cli.js'

/** What of the transcript comes out again, numbers and names aside; the rest depends on how fast the machine is. */
const SHOWN: Array<{ command: string, lines: RegExp }> = [
  { command: 'moeswarm generate --model demo.bundle --bootstrap $A --prompt "Once upon a time" --max-tokens 24 --temperature 0', lines: /^(?!Once|Drafts|Compared|…|$)/ },
  { command: 'moeswarm models --bootstrap $A', lines: /./ },
  { command: 'moeswarm generate --model llama --prompt "Once upon" --bootstrap $A', lines: /./ },
  { command: 'moeswarm doctor --bootstrap $A --model gemma4', lines: /^✓ (node|clock)/ },
  { command: 'moeswarm dht coverage --model $ID --bootstrap $A', lines: /./ },
  { command: 'moeswarm explain --list', lines: /./ },
  { command: 'moeswarm explain', lines: /^(Generation|An average decoding lap|layer )|^• (24 tokens|The first token)/ },
  { command: 'moeswarm generate --model demo.bundle --bootstrap $A --resume story2.json --max-tokens 20', lines: /./ },
  { command: 'moeswarm dht lookup 3 --model demo.bundle --bootstrap $A', lines: /this host|^Found:|^ {2}12D3/ },
  { command: 'moeswarm liars', lines: /./ },
  { command: 'moeswarm config generate', lines: /./ }
]

/** What stands under each command of the tour: the first time that it is there, up to the next command. */
function transcripts (text: string): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const [, block] of text.matchAll(/^```console\n([^]*?)^```$/gm)) {
    for (const part of block.split(/^\$ /m).slice(1)) {
      const [first, ...lines] = part.trimEnd().split('\n')
      const command = first.replace(/ +#.*/, '')
      if (!found.has(command)) found.set(command, lines)
    }
  }
  return found
}

/** A line with anything in the place of what differs from run to run. */
function pattern (line: string): RegExp {
  const parts = line.trim().split(/(\s+|\$A|\$ID|12D3KooW\w+|….{8}|\/ip4\/\S+|\d{14}-[0-9a-f]{6}|\b[0-9a-f]{12,64}\b|\S*moeswarm\.config\.json|\(\S+\/liars\.json\)|[\d.]*\d m?s\b|\d[\d.]*)/)
  return new RegExp(parts.map((part, i) => i % 2 === 0 ? part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&') : /^\s/.test(part) ? '\\s+' : /^\d.* m?s$|^\d[\d.]*$/.test(part) ? '[\\d.]+( m?s)?' : '\\S+').join(''))
}

describe('docs/tour.md', function () {
  this.timeout(120_000)
  let dir: string
  let tour: Map<string, string[]>
  const peers: PeerProcess[] = []
  let id: string

  const type = async (command: string): Promise<string> => {
    const words = [...command.replaceAll('$A', peers[0]?.addresses[0] ?? '').replaceAll('$ID', id).matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare).slice(1)
    const { stdout, stderr } = await runCli(words, { cwd: dir, env: { XDG_STATE_HOME: join(dir, 'state'), XDG_DATA_HOME: join(dir, 'data'), XDG_CONFIG_HOME: dir, MOESWARM_TRACE: '' } })
    return stdout + stderr
  }
  const compare = (command: string, lines: RegExp, output: string): void => {
    const expected = tour.get(command)?.filter(line => line !== '...' && lines.test(line))
    assert.ok(expected !== undefined && expected.length > 0, `the tour has no ${command}`)
    for (const line of expected) assert.match(output, pattern(line), `${line}\nunder ${command}`)
  }

  before(async () => {
    tour = transcripts(await readFile(join(ROOT, 'docs', 'tour.md'), 'utf8'))
    dir = await mkdtemp(join(tmpdir(), 'moeswarm-tour-'))
    await symlink(join(ROOT, 'model-tools'), join(dir, 'model-tools'))
  })
  after(async () => {
    await Promise.all(peers.map(async peer => await peer.stop()))
    await rm(dir, { recursive: true })
  })

  it('shows what its commands print', async () => {
    const convert = 'moeswarm convert model-tools/demo-model --out demo.bundle --quant q8'
    compare(convert, /./, await type(convert))
    const model = join(dir, 'demo.bundle')
    ;({ id } = await Bundle.open(model))
    peers.push(await startPeerProcess(['--model', model, '--layers', '0-3', '--threads', '1']))
    peers.push(await startPeerProcess(['--model', model, '--layers', '2-5', '--threads', '1', '--bootstrap', peers[0].addresses[0]]))
    const [text, ...others] = SHOWN
    compare(text.command, text.lines, await type(text.command))
    await writeFile(join(dir, 'moeswarm.config.json'), tour.get('cat moeswarm.config.json')!.join('\n').replace('$A', peers[0].addresses[0]))
    await Promise.all(others.map(async ({ command, lines }) => { compare(command, lines, await type(command)) }))
  })
})
