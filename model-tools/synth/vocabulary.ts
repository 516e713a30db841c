import type { Dialect } from './dialects.js'
import type { Vocabulary } from './gguf-metadata.js'

const SPACE = '\u2581'
const FIRST_NEWLINES = 107
const LONGEST_NEWLINES = 31
const FIRST_BYTE = 238
const FIRST_CHARACTER = FIRST_BYTE + 256
const LETTERS = [...'abcdefghijklmnopqrstuvwxyz']
/** Token types of llama.h. */
const TYPE = { normal: 1, control: 3, byte: 6 }

/**
 * A vocabulary of `size` tokens with the release's control, newline and byte tokens at their ids. The rest are characters and all strings
 * of two, three and then four letters, with and without a space in front, until it is full: a text has about as many tokens as with a
 * trained one. Throws RangeError for sizes that it cannot have: below 1,024 and above 400,000.
 */
export function syntheticVocabulary (size: number, { controlTokens, endOfTurn, chatTemplate }: Dialect): Vocabulary {
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
    const control = controlTokens[tokens.length]
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
  return { tokens, types, merges, endOfTurn, chatTemplate }
}
