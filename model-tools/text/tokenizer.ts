import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ModelError } from '../errors.js'
import { parseJson } from '../fields.js'

/** What a byte shows as while its character is incomplete, or for good where the bytes are no UTF-8. */
const REPLACEMENT = '\uFFFD'
/** Vocabularies with byte fallback write unknown characters as one token a byte. */
const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/

export interface EncodeOptions {
  /** Put the begin token in front, unless the text (a rendered chat template) starts with it already. @default true */
  addBos?: boolean
}

export interface DecodeOptions {
  /** Leave out control tokens such as the end of a turn. @default true */
  skipSpecial?: boolean
}

/** What we use of the library. Its own types import without file suffixes, which NodeNext resolves to nothing. */
interface Vocabulary {
  encode: (text: string, options: { add_special_tokens: boolean }) => { ids: number[] }
  decode: (ids: number[], options: { skip_special_tokens: boolean, clean_up_tokenization_spaces: boolean }) => string
  id_to_token: (id: number) => string | undefined
  get_added_tokens_decoder: () => Map<number, { special: boolean }>
  get_vocab: () => Map<string, number>
}
const VocabularyOfFiles = HuggingFaceTokenizer as unknown as new (tokenizer: object, config: object) => Vocabulary

/** Text <-> token ids of one model. */
export class Tokenizer {
  readonly #special: Set<number>

  private constructor (private readonly vocabulary: Vocabulary, readonly bosTokenId: number) {
    this.#special = new Set([...vocabulary.get_added_tokens_decoder()].filter(([, token]) => token.special).map(([id]) => id))
  }

  /**
   * Loads tokenizer.json and, where present, tokenizer_config.json of a directory: a bundle's `text` or a checkpoint.
   * Rejects with ModelError 'not-found' or 'malformed' naming the file.
   */
  static async open (dir: string, bosTokenId: number): Promise<Tokenizer> {
    const path = join(dir, 'tokenizer.json')
    const text = await readFile(path, 'utf8').catch((cause: unknown) => {
      throw new ModelError('not-found', `There is no ${path}; convert the model again or fetch the file.`, { path }, { cause })
    })
    const configPath = join(dir, 'tokenizer_config.json')
    const config = await readFile(configPath, 'utf8').catch(() => '{}')
    const [json, configJson] = [parseJson(text, path), parseJson(config, configPath)]
    try {
      return new Tokenizer(new VocabularyOfFiles(json as object, configJson as object), bosTokenId)
    } catch (cause) {
      throw new ModelError('malformed', `${path} is no tokenizer that this version understands: ${String(cause)}.`, { path }, { cause })
    }
  }

  encode (text: string, { addBos = true }: EncodeOptions = {}): number[] {
    const { ids } = this.vocabulary.encode(text, { add_special_tokens: false })
    return addBos && ids[0] !== this.bosTokenId ? [this.bosTokenId, ...ids] : ids
  }

  /** Throws ModelError 'out-of-range' for an id that the vocabulary does not have. */
  decode (ids: readonly number[], { skipSpecial = true }: DecodeOptions = {}): string {
    for (const id of ids) this.#require(id)
    return this.#text(skipSpecial ? ids.filter(id => !this.#special.has(id)) : ids)
  }

  /** A token by itself, control tokens written out; one that is a byte of a character has no text of its own. Throws ModelError 'out-of-range'. */
  token (id: number): { text: string, bytes: number[] } {
    const text = this.decode([id], { skipSpecial: false })
    const byte = BYTE_TOKEN.exec(this.vocabulary.id_to_token(id) ?? '')
    return { text, bytes: byte === null ? [...Buffer.from(text)] : [parseInt(byte[1], 16)] }
  }

  /** Decodes ids one by one, as a generation yields them: see TextStream. */
  stream (options: DecodeOptions = {}): TextStream {
    const { skipSpecial = true } = options
    return new TextStream({
      skips: id => {
        this.#require(id)
        return skipSpecial && this.#special.has(id)
      },
      isByte: id => BYTE_TOKEN.test(this.vocabulary.id_to_token(id) ?? ''),
      decode: ids => this.#text(ids)
    })
  }

  #require (id: number): void {
    if (!Number.isInteger(id) || this.vocabulary.id_to_token(id) === undefined) {
      throw new ModelError('out-of-range', `There is no token ${id} in the model's vocabulary; ids run from 0 to ${this.vocabulary.get_vocab().size - 1}.`, { id })
    }
  }

  #text (ids: readonly number[]): string {
    // The library refuses an empty list.
    return ids.length === 0 ? '' : this.vocabulary.decode([...ids], { skip_special_tokens: false, clean_up_tokenization_spaces: false })
  }
}

/** What TextStream asks of a tokenizer. */
export interface StreamVocabulary {
  /** Throws ModelError 'out-of-range' for an unknown id. */
  skips: (id: number) => boolean
  isByte: (id: number) => boolean
  decode: (ids: readonly number[]) => string
}

/**
 * Text as soon as it is final. A character whose bytes come as several tokens is held back until it is complete, and the pieces
 * joined, with `end`, are the decoding of all ids.
 */
export class TextStream {
  /** Ids since the last one that the text behind it cannot change, and that one as context. */
  #run: number[] = []
  /** How much of the run's text has been returned. */
  #returned = 0

  constructor (private readonly vocabulary: StreamVocabulary) {}

  /** Text that `id` completes; often '' in the middle of a character. Throws ModelError 'out-of-range'. */
  push (id: number): string {
    if (this.vocabulary.skips(id)) return ''
    this.#run.push(id)
    const text = this.vocabulary.decode(this.#run)
    let final = text.length
    while (final > this.#returned && text.endsWith(REPLACEMENT, final)) final--
    const piece = text.slice(this.#returned, final)
    this.#returned = final
    // Bytes decode together with the bytes before them, so a run goes on while they come.
    if (final === text.length && !this.vocabulary.isByte(id)) {
      this.#run = [id]
      this.#returned = this.vocabulary.decode(this.#run).length
    }
    return piece
  }

  /** What was held back: bytes that never became a character. The stream is then as new. */
  end (): string {
    const text = this.#run.length === 0 ? '' : this.vocabulary.decode(this.#run).slice(this.#returned)
    this.#run = []
    this.#returned = 0
    return text
  }
}
