import { Template } from '@huggingface/jinja'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ModelError } from '../errors.js'
import { Fields, parseJson } from '../fields.js'

/** A function that the model wants to be called. Templates take the arguments as an object, where OpenAI's API has JSON text. */
export interface ToolCall {
  id?: string
  type: 'function'
  function: { name: string, arguments: Record<string, unknown> }
}

/** Further fields of a message, such as those of a tool's result, reach the template as they are. */
export interface ChatMessage {
  role: 'system' | 'developer' | 'user' | 'assistant' | 'tool'
  content: string
  tool_calls?: ToolCall[]
  /** Of a 'tool' message: the call that it answers. */
  tool_call_id?: string
  name?: string
}

export interface RenderOptions {
  /** End with the head of the model's turn, so that it answers. @default true */
  addGenerationPrompt?: boolean
  /** Functions that the model may call, in OpenAI's form; only templates that know tools write them. */
  tools?: object[]
  /** Further variables that the model's own template knows, such as `enable_thinking`. */
  variables?: Record<string, unknown>
}

/** The model's own way to write a conversation as one text. */
export class ChatTemplate {
  private constructor (private readonly template: Template, /** Jinja. */ readonly source: string, private readonly path: string, private readonly specialTokens: Record<string, string>) {}

  /**
   * Loads chat_template.jinja or the `chat_template` of tokenizer_config.json. Undefined where a directory has neither: a model that
   * only completes text. Rejects with ModelError 'malformed' naming the file.
   */
  static async open (dir: string): Promise<ChatTemplate | undefined> {
    const configPath = join(dir, 'tokenizer_config.json')
    const config = new Fields(parseJson(await readFile(configPath, 'utf8').catch(() => '{}'), configPath), configPath)
    const filePath = join(dir, 'chat_template.jinja')
    const file = await readFile(filePath, 'utf8').catch(() => undefined)
    const source = file ?? templateOf(config)
    if (source == null) return undefined
    const path = file == null ? configPath : filePath
    const specialTokens: Record<string, string> = {}
    for (const name of ['bos_token', 'eos_token', 'pad_token', 'unk_token']) {
      const token = tokenText(config, name)
      if (token != null) specialTokens[name] = token
    }
    try {
      return new ChatTemplate(new Template(source), source, path, specialTokens)
    } catch (cause) {
      throw new ModelError('malformed', `The chat template of ${path} cannot be parsed: ${String(cause)}.`, { path }, { cause })
    }
  }

  /**
   * The conversation as text, special tokens written out: encode it as it is, the tokenizer does not double its begin token.
   * Throws ModelError 'unsupported' where the template refuses the messages, for example two user turns in a row.
   */
  render (messages: ChatMessage[], { addGenerationPrompt = true, tools, variables = {} }: RenderOptions = {}): string {
    try {
      return this.template.render({ ...this.specialTokens, ...variables, ...(tools !== undefined && { tools }), messages, add_generation_prompt: addGenerationPrompt })
    } catch (cause) {
      throw new ModelError('unsupported', `The model's chat template refuses this conversation: ${cause instanceof Error ? cause.message : String(cause)}.`, { path: this.path }, { cause })
    }
  }
}

/** Newer files hold one template, older ones a list of named ones. */
function templateOf (config: Fields): string | undefined {
  const value = config.get('chat_template')
  if (value === undefined || typeof value === 'string') return value
  for (const item of config.array('chat_template')) {
    const named = new Fields(item, `${config.where}: "chat_template"`)
    if (named.get('name') === 'default') return named.string('template')
  }
  return undefined
}

/** A special token is written as a string or as an object with `content`. */
function tokenText (config: Fields, name: string): string | undefined {
  const value = config.get(name)
  if (value === undefined || typeof value === 'string') return value
  return config.object(name).string('content')
}
