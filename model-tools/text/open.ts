import type { Bundle } from '../bundle/reader.js'
import { ChatTemplate } from './chat-template.js'
import { Tokenizer } from './tokenizer.js'

/** The text side of a bundle. `chatTemplate` is undefined for a model that only completes text. */
export async function openText (bundle: Bundle): Promise<{ tokenizer: Tokenizer, chatTemplate?: ChatTemplate }> {
  const dir = bundle.path('text')
  const [tokenizer, chatTemplate] = await Promise.all([Tokenizer.open(dir, bundle.config.bosTokenId), ChatTemplate.open(dir)])
  return { tokenizer, chatTemplate }
}
