import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ChatTemplate } from '../../../model-tools/text/chat-template.js'
import { TextStream, Tokenizer } from '../../../model-tools/text/tokenizer.js'
import { DEMO_MODEL, modelError, temporaryDirectory } from '../fixtures.js'

/** <0x00> of the demo model's vocabulary. */
const FIRST_BYTE_TOKEN = 107

interface Reference {
  prompts: Array<{ text: string, chat: boolean, ids: number[], greedy_ids: number[], greedy_text: string }>
}

describe('text', () => {
  const temporary = temporaryDirectory()
  const { prompts } = JSON.parse(readFileSync(join(DEMO_MODEL, 'reference.json'), 'utf8')) as Reference
  let tokenizer: Tokenizer
  let template: ChatTemplate

  before(async () => {
    tokenizer = await Tokenizer.open(DEMO_MODEL, 2)
    template = await ChatTemplate.open(DEMO_MODEL) ?? assert.fail('the demo model has a chat template')
  })

  /** Pieces that a stream gives for ids, its end last. */
  function pieces (ids: number[], skipSpecial?: boolean): string[] {
    const stream = tokenizer.stream({ skipSpecial })
    return [...ids.map(id => stream.push(id)), stream.end()]
  }

  for (const { text, chat, ids, greedy_ids: greedyIds, greedy_text: greedyText } of prompts) {
    it(`gives the reference's ids and text for ${JSON.stringify(text)}${chat ? ' as a chat' : ''}`, () => {
      assert.deepEqual(tokenizer.encode(chat ? template.render([{ role: 'user', content: text }]) : text), ids)
      assert.equal(tokenizer.decode(greedyIds), greedyText)
      assert.equal(pieces(greedyIds).join(''), greedyText)
    })
  }

  it('puts one begin token in front, never two', () => {
    assert.deepEqual(tokenizer.encode('Once').filter(id => id === 2), [2])
    assert.deepEqual(tokenizer.encode('<bos>Once'), tokenizer.encode('Once'))
    assert.deepEqual(tokenizer.encode('Once', { addBos: false }), tokenizer.encode('Once').slice(1))
    assert.deepEqual(tokenizer.encode(''), [2])
    assert.deepEqual(tokenizer.encode('', { addBos: false }), [])
  })

  it('leaves control tokens out of the text, or writes them', () => {
    const ids = tokenizer.encode('<|turn>user\nHi<turn|>\n')
    assert.equal(tokenizer.decode(ids), 'user\nHi\n')
    assert.equal(tokenizer.decode(ids, { skipSpecial: false }), '<bos><|turn>user\nHi<turn|>\n')
    assert.equal(pieces(ids).join(''), 'user\nHi\n')
    assert.equal(pieces(ids, false).join(''), '<bos><|turn>user\nHi<turn|>\n')
  })

  const texts = ['plain words', 'naïve café, 10 €', 'smile 😀😀👩‍👩‍👧 done', '日本語のテキスト', ' two  spaces ', 'tabs\tand\n\nlines', 'é', '😀', '\u0000 control', 'a\u0301 combining', '']
  for (const text of texts) {
    it(`gives ${JSON.stringify(text)} back, whole and in pieces`, () => {
      const ids = tokenizer.encode(text)
      assert.equal(tokenizer.decode(ids), text)
      const parts = pieces(ids)
      assert.equal(parts.join(''), text)
      assert.ok(parts.every(part => !/[\uFFFD\p{Surrogate}]/u.test(part)), JSON.stringify(parts))
    })
  }

  it('gives a character of several tokens in one piece, with its last byte', () => {
    const ids = tokenizer.encode('a😀b', { addBos: false })
    assert.deepEqual(pieces(ids), ['a', '', '', '', '😀', 'b', ''])
  })

  it('gives bytes that are no characters as the whole decoding does', () => {
    const byte = (value: number): number => FIRST_BYTE_TOKEN + value
    const [a] = tokenizer.encode('a', { addBos: false })
    const sequences = [
      [byte(0xe2)], [byte(0xe2), byte(0x82)], [byte(0xe2), a], [byte(0xff), byte(0xe2), byte(0x82), byte(0xac)], [byte(0x82), byte(0xac), a, byte(0xf0)],
      [a, byte(0xe2), 106, byte(0x82), byte(0xac), a], [byte(0xf0), byte(0x9f), byte(0x98), a, byte(0x80)], [byte(0xef), byte(0xbf), byte(0xbd), a]
    ]
    for (const ids of sequences) {
      for (const skipSpecial of [true, false]) assert.equal(pieces(ids, skipSpecial).join(''), tokenizer.decode(ids, { skipSpecial }), ids.join())
    }
  })

  it('gives random ids in pieces that make the whole', () => {
    let state = 1
    const ids = Array.from({ length: 3000 }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      // Every other one is a byte, so that runs of broken and whole characters come.
      return state & 0x10000 ? FIRST_BYTE_TOKEN + (state >>> 24) : (state >>> 8) % 4096
    })
    assert.equal(pieces(ids).join(''), tokenizer.decode(ids))
  })

  it('works for vocabularies whose ordinary tokens are bytes', () => {
    const decoder = new TextDecoder()
    const stream = new TextStream({ skips: () => false, isByte: () => false, decode: ids => decoder.decode(Uint8Array.from(ids)) })
    const bytes = [...new TextEncoder().encode('aé😀b')]
    assert.deepEqual([...bytes.map(byte => stream.push(byte)), stream.end()], ['a', '', 'é', '', '', '', '😀', 'b', ''])
  })

  it('names a token id out of range', () => {
    for (const id of [-1, 4096, 1.5, NaN]) {
      assert.throws(() => tokenizer.decode([5, id]), modelError('out-of-range', `token ${id}`, '0 to 4095'))
      assert.throws(() => tokenizer.stream().push(id), modelError('out-of-range', `token ${id}`))
    }
  })

  it('writes a conversation as the model was trained', () => {
    const messages = [{ role: 'user', content: ' Hi ' }, { role: 'assistant', content: 'Hello!' }, { role: 'user', content: 'More' }] as const
    assert.equal(template.render([...messages]), '<bos><|turn>user\nHi<turn|>\n<|turn>model\nHello!<turn|>\n<|turn>user\nMore<turn|>\n<|turn>model\n')
    assert.equal(template.render([messages[0]], { addGenerationPrompt: false }), '<bos><|turn>user\nHi<turn|>\n')
  })

  async function textDirectory (files: Record<string, string>): Promise<string> {
    const dir = temporary.sub('text')
    await mkdir(dir)
    for (const [name, content] of Object.entries(files)) await writeFile(join(dir, name), content)
    return dir
  }

  it('finds a template in either file, and does without', async () => {
    const render = async (files: Record<string, string>): Promise<string | undefined> => (await ChatTemplate.open(await textDirectory(files)))?.render([{ role: 'user', content: 'x' }])
    const config = (chatTemplate: unknown): string => JSON.stringify({ bos_token: { content: '<s>' }, chat_template: chatTemplate })
    assert.equal(await render({ 'tokenizer_config.json': config('{{ bos_token }}1') }), '<s>1')
    assert.equal(await render({ 'tokenizer_config.json': config([{ name: 'tool_use', template: 'no' }, { name: 'default', template: '{{ bos_token }}2' }]) }), '<s>2')
    assert.equal(await render({ 'tokenizer_config.json': config('no'), 'chat_template.jinja': '{{ bos_token }}3\n' }), '<s>3')
    assert.equal(await render({}), undefined)
    assert.equal(await render({ 'tokenizer_config.json': '{}' }), undefined)
  })

  it('passes a template\'s own variables and its refusal on', async () => {
    const dir = await textDirectory({ 'chat_template.jinja': '{% if messages | length > 1 %}{{ raise_exception("one message only") }}{% endif %}{% if enable_thinking %}think{% endif %}' })
    const own = await ChatTemplate.open(dir) ?? assert.fail('no template')
    const message = { role: 'user', content: 'x' } as const
    assert.equal(own.render([message], { variables: { enable_thinking: true } }), 'think')
    assert.equal(own.render([message]), '')
    assert.throws(() => own.render([message, message]), modelError('unsupported', 'one message only'))
  })

  it('names text files that are missing or damaged', async () => {
    await assert.rejects(Tokenizer.open('/nowhere', 2), modelError('not-found', '/nowhere/tokenizer.json'))
    const dir = temporary.sub('damaged')
    await cp(join(DEMO_MODEL, 'tokenizer.json'), join(dir, 'tokenizer.json'))
    await assert.doesNotReject(Tokenizer.open(dir, 2))
    const text = await readFile(join(dir, 'tokenizer.json'), 'utf8')
    for (const damaged of [text.slice(0, 1000), '{}', 'null', '[]']) {
      await writeFile(join(dir, 'tokenizer.json'), damaged)
      await assert.rejects(Tokenizer.open(dir, 2), modelError('malformed', join(dir, 'tokenizer.json')))
    }
    await assert.rejects(ChatTemplate.open(await textDirectory({ 'chat_template.jinja': '{% if %}' })), modelError('malformed', 'chat_template.jinja'))
    await assert.rejects(ChatTemplate.open(await textDirectory({ 'tokenizer_config.json': '{"chat' })), modelError('malformed', 'tokenizer_config.json'))
  })
})
