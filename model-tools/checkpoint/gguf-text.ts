import type { GgufForm } from '../architectures/architecture.js'
import { ModelError } from '../errors.js'
import type { Fields } from '../fields.js'

/** Values of tokenizer.ggml.token_type, from llama.h. */
const TOKEN_TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const
/** SentencePiece's stand-in for a space. */
const SPACE = '\u2581'
/** Kept free in Gemma's vocabularies, for whoever trains the model further; taken out of a text before merges run. */
const UNUSED_TOKEN = /^<unused\d+>$/

const SPECIAL_TOKENS = { bos: 'bos_token', eos: 'eos_token', unknown: 'unk_token', padding: 'pad_token', mask: 'mask_token' } as const

/**
 * A file of the text side (tokenizer.json, tokenizer_config.json, chat_template.jinja) made from the `tokenizer.*` metadata of a GGUF file;
 * undefined for one that they do not give. Throws ModelError 'unsupported' for a kind of tokenizer that they do not describe completely,
 * 'malformed' when they contradict each other.
 */
export function ggufText (metadata: Fields, name: string, form: Pick<GgufForm, 'visibleControlTokens'>): string | undefined {
  switch (name) {
    case 'tokenizer.json': return JSON.stringify(tokenizerJson(metadata, form))
    case 'tokenizer_config.json': return JSON.stringify(tokenizerConfig(metadata))
    case 'chat_template.jinja': return metadata.has('tokenizer.chat_template') ? metadata.string('tokenizer.chat_template') : undefined
    default: return undefined
  }
}

/** Token ids of a config.json: where texts begin, and every token that ends a generation. */
export function ggufTokenIds (metadata: Fields, { endTokens }: GgufForm): { bos_token_id?: number, eos_token_id: number[] } {
  const tokens = tokensOf(metadata)
  const id = (name: string): number | undefined => metadata.has(key(`${name}_token_id`)) ? metadata.integer(key(`${name}_token_id`), 0, tokens.length - 1) : undefined
  const ends = [id('eos'), id('eot'), id('eom'), ...endTokens.map(text => tokens.indexOf(text)).filter(index => index >= 0)]
  return { bos_token_id: id('bos'), eos_token_id: [...new Set(ends.filter(end => end !== undefined))] }
}

function key (name: string): string {
  return `tokenizer.ggml.${name}`
}

function tokensOf (metadata: Fields): string[] {
  const tokens = metadata.array(key('tokens'))
  if (tokens.some(token => typeof token !== 'string')) throw metadata.error(key('tokens'), 'must hold texts')
  return tokens as string[]
}

function typesOf (metadata: Fields, tokens: string[]): number[] {
  const types = metadata.array(key('token_type'))
  if (types.length !== tokens.length || types.some(type => typeof type !== 'number')) throw malformed(metadata, 'token_type', `must hold a number for each of ${tokens.length} tokens`)
  return types as number[]
}

/** A byte-pair tokenizer over characters with bytes as a last resort, as Gemma's releases write it. */
function tokenizerJson (metadata: Fields, form: Pick<GgufForm, 'visibleControlTokens'>): unknown {
  const kind = metadata.string(key('model'))
  const tokens = tokensOf(metadata)
  const types = typesOf(metadata, tokens)
  const vocab = new Map(tokens.map((token, id) => [token, id]))
  if (vocab.size !== tokens.length) throw malformed(metadata, 'tokens', 'holds a token twice')
  if (!['gemma4', 'llama'].includes(kind) || metadata.boolean(key('add_space_prefix'), kind === 'llama')) {
    throw new ModelError('unsupported', `${metadata.where}: a tokenizer of kind ${JSON.stringify(kind)} is not wholly described in a GGUF file; put the tokenizer.json of the model's original repository beside it.`,
      { key: key('model'), value: kind })
  }
  const merges = metadata.has(key('merges')) ? mergesOf(metadata, vocab) : mergesByScore(metadata, tokens, vocab)
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: tokens.flatMap((content, id) => {
      const special = types[id] === TOKEN_TYPE.control || types[id] === TOKEN_TYPE.unknown || form.visibleControlTokens.includes(content)
      const added = special || types[id] === TOKEN_TYPE.userDefined || types[id] === TOKEN_TYPE.unused || UNUSED_TOKEN.test(content)
      return added ? [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }] : []
    }),
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: SPACE },
    pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
    post_processor: null,
    decoder: { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { String: SPACE }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }] },
    model: {
      type: 'BPE', dropout: null, unk_token: specialToken(metadata, 'unknown', tokens) ?? null, continuing_subword_prefix: null, end_of_word_suffix: null,
      fuse_unk: true, byte_fallback: true, ignore_merges: false, vocab: Object.fromEntries(vocab), merges
    }
  }
}

/** `left right` each. A space in a token would be written as U+0120, but tokens of these kinds hold none. */
function mergesOf (metadata: Fields, vocab: Map<string, number>): Array<[string, string]> {
  return metadata.array(key('merges')).map((merge): [string, string] => {
    const parts = typeof merge === 'string' ? merge.split(' ') : []
    const [left, right] = parts
    if (parts.length !== 2 || !vocab.has(left) || !vocab.has(right) || !vocab.has(left + right)) {
      throw malformed(metadata, 'merges', `has the entry ${JSON.stringify(merge)}, which does not join two tokens to a third`)
    }
    return [left, right]
  })
}

/**
 * The merges that a SentencePiece vocabulary stands for: any two tokens that make a third, best score of the third first. Between those of one
 * third, the better parts first. Tokens out of the normal ones take no part.
 */
function mergesByScore (metadata: Fields, tokens: string[], vocab: Map<string, number>): Array<[string, string]> {
  const scores = metadata.array(key('scores')) as number[]
  const types = typesOf(metadata, tokens)
  if (scores.length !== tokens.length || scores.some(score => typeof score !== 'number')) throw malformed(metadata, 'scores', `must hold a number for each of ${tokens.length} tokens`)
  const isNormal = (id: number | undefined): id is number => id !== undefined && types[id] === TOKEN_TYPE.normal
  const found: Array<{ pair: [string, string], score: number, left: number, right: number }> = []
  for (const [id, token] of tokens.entries()) {
    if (!isNormal(id)) continue
    for (let cut = 1; cut < token.length; cut++) {
      const [left, right] = [vocab.get(token.slice(0, cut)), vocab.get(token.slice(cut))]
      if (isNormal(left) && isNormal(right)) found.push({ pair: [tokens[left], tokens[right]], score: scores[id], left, right })
    }
  }
  return found.sort((a, b) => b.score - a.score || a.left - b.left || a.right - b.right).map(({ pair }) => pair)
}

function tokenizerConfig (metadata: Fields): unknown {
  const tokens = tokensOf(metadata)
  const special = Object.entries(SPECIAL_TOKENS).map(([name, field]) => [field, specialToken(metadata, name as keyof typeof SPECIAL_TOKENS, tokens)])
  return {
    ...Object.fromEntries(special) as Record<string, string | undefined>,
    add_bos_token: metadata.boolean(key('add_bos_token'), true),
    add_eos_token: metadata.boolean(key('add_eos_token'), false),
    clean_up_tokenization_spaces: false,
    spaces_between_special_tokens: false,
    tokenizer_class: 'GemmaTokenizer'
  }
}

function specialToken (metadata: Fields, name: keyof typeof SPECIAL_TOKENS, tokens: string[]): string | undefined {
  const field = key(`${name}_token_id`)
  return metadata.has(field) ? tokens[metadata.integer(field, 0, tokens.length - 1)] : undefined
}

function malformed (metadata: Fields, name: string, problem: string): ModelError {
  return new ModelError('malformed', `${metadata.where}: ${key(name)} ${problem}; the file is damaged, get it again.`, { key: key(name) })
}
