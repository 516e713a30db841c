import assert from 'node:assert/strict'
import { type AnswerPiece, ToolCallReader, toolCallSyntax } from '../../../model-tools/index.js'

/** Reads `text` in pieces of `size` characters. */
function read (template: string, text: string, size: number): AnswerPiece {
  const reader = new ToolCallReader(toolCallSyntax(template)!)
  const out: AnswerPiece = { content: '', calls: [] }
  const add = ({ content, calls }: AnswerPiece): void => {
    out.content += content
    out.calls.push(...calls)
  }
  for (let at = 0; at < text.length; at += size) add(reader.push(text.slice(at, at + size)))
  add(reader.end())
  return out
}

const GEMMA = '<|tool_call>'
const HERMES = '<tool_call>'

const TABLE: Array<{ name: string, template: string, text: string } & AnswerPiece> = [
  {
    name: 'a call of Gemma 4 with all kinds of values',
    template: GEMMA,
    text: 'Let me see.<|tool_call>call:weather{city:<|"|>Paris, {France}<|"|>,days:3,exact:true,at:[1.5,<|"|>b<|"|>],more:{none:null}}<tool_call|>',
    content: 'Let me see.',
    calls: [{ name: 'weather', arguments: { city: 'Paris, {France}', days: 3, exact: true, at: [1.5, 'b'], more: { none: null } } }]
  },
  {
    name: 'two calls of Gemma 4 and a thought',
    template: GEMMA,
    text: '<|channel>thought\nhm<channel|><|tool_call>call:a{}<tool_call|><|tool_call>call:b{x:word}<tool_call|>',
    content: '',
    calls: [{ name: 'a', arguments: {} }, { name: 'b', arguments: { x: 'word' } }]
  },
  { name: 'a call that cannot be read', template: GEMMA, text: 'a<|tool_call>nonsense<tool_call|>b', content: 'a<|tool_call>nonsense<tool_call|>b', calls: [] },
  { name: 'a call that does not end', template: GEMMA, text: 'a<|tool_call>call:a{', content: 'a<|tool_call>call:a{', calls: [] },
  { name: 'a call of Hermes', template: HERMES, text: 'x<tool_call>\n{"name": "f", "arguments": {"a": [1]}}\n</tool_call>', content: 'x', calls: [{ name: 'f', arguments: { a: [1] } }] },
  { name: 'Hermes with a broken object', template: HERMES, text: '<tool_call>{"name": 1}</tool_call>', content: '<tool_call>{"name": 1}</tool_call>', calls: [] },
  { name: 'no call', template: HERMES, text: 'if a <tool or b', content: 'if a <tool or b', calls: [] },
  { name: 'values nested without end', template: GEMMA, text: `<|tool_call>call:a{x:${'['.repeat(100_000)}}<tool_call|>`, content: `<|tool_call>call:a{x:${'['.repeat(100_000)}}<tool_call|>`, calls: [] }
]

describe('calls of tools in an answer', () => {
  for (const { name, template, text, content, calls } of TABLE) {
    it(name, () => {
      for (const size of text.length > 1000 ? [text.length] : [1, 3, 7, text.length]) assert.deepEqual(read(template, text, size), { content, calls })
    })
  }

  it('are not looked for where the template knows none', () => { assert.equal(toolCallSyntax('{{ messages }}'), undefined) })
})
