import type { Vocabulary } from './gguf-metadata.js'

const SPACE = '\u2581'
/** Ids of the release; the ones between them are unused. */
const CONTROL_TOKENS: Record<number, string> = {
  0: '<pad>', 1: '<eos>', 2: '<bos>', 3: '<unk>', 4: '<mask>', 46: '<|tool>', 47: '<tool|>', 48: '<|tool_call>', 49: '<tool_call|>', 50: '<|tool_response>', 51: '<tool_response|>',
  52: '<|"|>', 98: '<|think|>', 100: '<|channel>', 101: '<channel|>', 105: '<|turn>', 106: '<turn|>'
}
const FIRST_NEWLINES = 107
const LONGEST_NEWLINES = 31
const FIRST_BYTE = 238
const FIRST_CHARACTER = FIRST_BYTE + 256
const LETTERS = [...'abcdefghijklmnopqrstuvwxyz']
/** Token types of llama.h. */
const TYPE = { normal: 1, control: 3, byte: 6 }

const CHAT_TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ '<|turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' + (m['content'] | trim) + '<turn|>\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|turn>model\\n' }}{% endif %}"

/**
 * A vocabulary of `size` tokens with the release's control, newline and byte tokens at their ids. The rest are characters and all strings
 * of two, three and then four letters, with and without a space in front, until it is full: a text has about as many tokens as with a
 * trained one. Throws RangeError for sizes that it cannot have: below 1,024 and above 400,000.
 */
export function syntheticVocabulary (size: number): Vocabulary {
  if (size < 1024 || size > 400_000) throw new RangeError(`A vocabulary of ${size} tokens cannot be made`)
  const tokens: string[] = []
  const types: number[] = []
  const merges: string[] = []
  const add = (token: string, type = TYPE.normal, parts?: [string, string]): void => {
    if (tokens.length === size) return
    tokens.push(token)
    types.push(type)
    if (parts != null) merges.push(parts.join(' '))
  }
  while (tokens.length < FIRST_NEWLINES) {
    const control = CONTROL_TOKENS[tokens.length]
    if (control == null) add(`<unused${tokens.length}>`)
    else add(control, TYPE.control)
  }
  for (let count = 1; count <= LONGEST_NEWLINES; count++) add('\n'.repeat(count), TYPE.normal, count === 1 ? undefined : ['\n'.repeat(count - 1), '\n'])
  while (tokens.length < FIRST_BYTE) add(`<unused${tokens.length}>`)
  for (let byte = 0; tokens.length < FIRST_CHARACTER; byte++) add(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, TYPE.byte)
  add(SPACE)
  for (const [first, last] of [[0x21, 0x7e], [0xa1, 0x17f]]) {
    for (let code = first; code <= last; code++) add(String.fromCharCode(code))
  }
  for (const letter of LETTERS) add(SPACE + letter, TYPE.normal, [SPACE, letter])
  const pairs = LETTERS.flatMap(left => LETTERS.map(right => left + right))
  for (const pair of pairs) add(pair, TYPE.normal, [pair[0], pair[1]])
  for (const pair of pairs) add(SPACE + pair, TYPE.normal, [SPACE, pair])
  for (const pair of pairs) for (const letter of LETTERS) add(pair + letter, TYPE.normal, [pair, letter])
  for (const pair of pairs) for (const letter of LETTERS) add(SPACE + pair + letter, TYPE.normal, [SPACE + pair, letter])
  for (const left of pairs) for (const right of pairs) add(left + right, TYPE.normal, [left, right])
  return { tokens, types, merges, chatTemplate: CHAT_TEMPLATE }
}
