import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Command, CommanderError } from 'commander'
import { createProgram } from '../../node/cli/program.js'
import { leaves, variableOf } from '../../node/cli/settings.js'
import { ROOT } from '../../scripts/demo-bundle.js'

/** Where readers find commands. */
const FILES = ['README.md', 'Dockerfile', 'compose.yaml', 'docs/deploy/moeswarm-peer.service']

const ADDRESS = '/ip4/192.0.2.7/tcp/4001'

interface Written { file: string, line: number, text: string, whole: boolean }

/** Commands in what a text shows as code: `whole` ones stand on a line of their own and can be typed as they are, the others are quoted in a sentence, or need something beside them. */
function commandsIn (file: string, text: string): Written[] {
  let fenced = false
  return text.split('\n').flatMap((line, i) => {
    if (line.startsWith('```')) fenced = !fenced
    const code = fenced || line.startsWith('    ')
    const found = code
      ? [...line.matchAll(/(?:^ {4}|^\$ |[&(|] ?|npx |sudo |(?:[A-Z_]+=\S+ ))(moeswarm [^#&|)]*)/g)].map(match => ({ text: match[1], whole: !/\.\.\.|<Tab>|[A-Z]=/.test(line) }))
      : [...line.matchAll(/`(moeswarm [^`]*)`/g)].map(match => ({ text: match[1], whole: false }))
    return found.map(one => ({ file, line: i + 1, ...one }))
  })
}

/** As a shell takes it apart, with something sensible for what the reader has to fill in. */
function wordsOf (text: string): string[] {
  const filled = text.replace(/ *\^C.*$/, '').replace(/\S*<Tab>| -+[\w-]+ <Tab>/g, '').replace(/\$A\b|<[^>]*address[^>]*>|\/ip4\/\S*\.\.\./g, ADDRESS).replace(/\$ID\b|<model id>|<id>/g, 'ab'.repeat(32)).replace(/<shape>/g, 'demo').replace(/<[^>]*>/g, 'x')
  return [...filled.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, double, single, bare]) => double ?? single ?? bare).slice(1)
}

function program (): Command {
  const made = createProgram()
  const silent = { writeOut: () => {}, writeErr: () => {} }
  for (const command of [made, ...made.commands, ...leaves(made)]) command.exitOverride().configureOutput(silent)
  for (const leaf of leaves(made)) leaf.action(() => {})
  return made
}

/** Undefined when the command line takes it. */
async function complaint ({ text, whole }: Written): Promise<string | undefined> {
  const words = wordsOf(text)
  const parts = words.filter(word => word !== '...' && word !== '…')
  const made = program()
  try {
    if (whole && parts.length === words.length) {
      await made.parseAsync(parts, { from: 'user' })
      return undefined
    }
    // In a sentence or with an omission it need not be complete, but what it names must be there.
    let command = made
    while (command.commands.length > 0 && parts.length > 0) {
      const next = command.commands.find(one => one.name() === parts[0])
      if (next === undefined) break
      command = next
      parts.shift()
    }
    const unknown = command.parseOptions(parts).unknown
    return unknown.length === 0 || unknown[0] === '--help' ? undefined : `${command.name()} has no ${unknown.join(' ')}`
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? undefined : error.message
    throw error
  }
}

describe('what the documents tell readers to type', () => {
  const texts = new Map<string, string>()

  before(async () => {
    const docs = (await readdir(join(ROOT, 'docs'))).filter(name => name.endsWith('.md')).map(name => `docs/${name}`)
    for (const file of [...FILES, ...docs]) texts.set(file, await readFile(join(ROOT, file), 'utf8'))
  })

  it('is taken by the command line', async () => {
    const written = [...texts].filter(([file]) => file.endsWith('.md')).flatMap(([file, text]) => commandsIn(file, text))
    assert.ok(written.length > 60, `${written.length} commands`)
    const wrong: string[] = []
    for (const one of written) {
      const why = await complaint(one)
      if (why !== undefined) wrong.push(`${one.file}:${one.line}: ${one.text}: ${why}`)
    }
    assert.deepEqual(wrong, [])
  })

  it('sets variables that there are', () => {
    const known = new Set(['MOESWARM_CONFIG', ...leaves(createProgram()).flatMap(leaf => leaf.options.map(variableOf))])
    const unknown = [...texts].flatMap(([file, text]) => [...text.matchAll(/\bMOESWARM_[A-Z_]*[A-Z]/g)].filter(([name]) => !known.has(name)).map(([name]) => `${file}: ${name}`))
    assert.deepEqual(unknown, [])
  })

  it('runs scripts that there are', async () => {
    const { scripts } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
    const unknown = [...texts].flatMap(([file, text]) => [...text.matchAll(/npm run (?:-s )?([a-z][a-z:-]*)/g)].filter(([, name]) => !(name in scripts)).map(([, name]) => `${file}: ${name}`))
    assert.deepEqual(unknown, [])
    for (const script of Object.values(scripts)) {
      const file = /^node (dist\/\S+)/.exec(script)?.[1]
      if (file !== undefined) assert.ok(existsSync(join(ROOT, file)), file)
    }
  })

  it('links to files and headings that there are', async () => {
    const broken: string[] = []
    for (const [file, text] of texts) {
      for (const [, target] of text.matchAll(/\]\(((?!https?:)[^)\s]+)\)/g)) {
        const [path, anchor] = target.split('#')
        const at = path === '' ? join(ROOT, file) : join(ROOT, dirname(file), path)
        if (!existsSync(at)) broken.push(`${file}: ${target}`)
        else if (anchor !== undefined && !headings(await readFile(at, 'utf8')).has(anchor)) broken.push(`${file}: ${target} (no such heading)`)
      }
    }
    assert.deepEqual(broken, [])
  })
})

/** As GitHub makes anchors of them. */
function headings (text: string): Set<string> {
  return new Set([...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) => title.toLowerCase().replace(/[^\w\- ]/g, '').replaceAll(' ', '-')))
}
