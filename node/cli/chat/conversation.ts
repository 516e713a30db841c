import { readFile, writeFile } from 'node:fs/promises'
import { type ChatMessage, type GenerateInit, runGeneration, type RunInit, type SwarmClient } from '../../index.js'
import { UsageError } from '../command.js'

/** What /set sets. Undefined leaves it to the model. */
export interface ChatSettings {
  temperature?: number
  topK?: number
  topP?: number
  seed?: number
  maxTokens?: number
}

export interface ConversationInit extends Pick<RunInit, 'monitor' | 'traces' | 'onGenerate'> {
  /** Whether what a peer that lied had a part in is computed again. @default false */
  paranoid?: boolean
}

export type AnswerEnd = 'stop' | 'length' | 'context' | 'interrupted'

/** A conversation with the model: what was said, and how the next answer is to be made. */
export class Conversation {
  messages: ChatMessage[] = []
  system?: string
  settings: ChatSettings

  constructor (private readonly client: SwarmClient, private readonly init: ConversationInit, settings: ChatSettings) {
    this.settings = settings
  }

  reset (): void { this.messages = [] }

  /**
   * The model's answer to `text`, as it comes. An answer that `signal` cuts short stays as far as it came; a question without any answer is
   * forgotten, so that it can be asked again.
   * @param onVoid - for an answer that is computed again where a liar had a part in it: what came of it so far is void, and it begins anew. Without this it comes when it is whole
   * @throws as SwarmClient.generate does
   */
  async ask (text: string, signal: AbortSignal, onText: (text: string) => void, onVoid?: () => void): Promise<AnswerEnd> {
    const messages: ChatMessage[] = [...this.messages, { role: 'user', content: text }]
    const { maxTokens, ...sampling } = this.settings
    const { paranoid, ...observed } = this.init
    const options: GenerateInit = { maxTokens, paranoid, sampling, signal }
    const prompt = this.client.encodeChat(this.system === undefined ? messages : [{ role: 'system', content: this.system }, ...messages])
    let answer = ''
    try {
      const { generation } = await runGeneration({
        client: this.client,
        ...observed,
        prompt,
        options,
        chat: true,
        onPiece: async ({ content }) => {
          answer += content
          onText(content)
        },
        ...onVoid && {
          onVoid: () => {
            answer = ''
            onVoid()
          }
        }
      })
      return generation.finishReason
    } catch (error) {
      if (!signal.aborted) throw error
      return 'interrupted'
    } finally {
      if (answer !== '') this.messages = [...messages, { role: 'assistant', content: answer }]
    }
  }

  async save (file: string): Promise<void> {
    await writeFile(file, `${JSON.stringify({ system: this.system, messages: this.messages }, null, 2)}\n`, { mode: 0o600 })
  }

  /** @throws UsageError for a file that is no saved conversation */
  async load (file: string): Promise<void> {
    const saved = parse(await readFile(file, 'utf8'))
    if (saved === undefined) throw new UsageError(`${file} is no conversation that /save wrote.`)
    this.system = saved.system
    this.messages = saved.messages
  }
}

function parse (text: string): { system?: string, messages: ChatMessage[] } | undefined {
  let value: { system?: unknown, messages?: unknown } | null
  try {
    value = JSON.parse(text) as typeof value
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || !Array.isArray(value.messages)) return undefined
  const messages = value.messages as Array<Partial<ChatMessage> | null>
  if (!messages.every(message => (message?.role === 'user' || message?.role === 'assistant') && typeof message.content === 'string')) return undefined
  return { system: typeof value.system === 'string' ? value.system : undefined, messages: messages as ChatMessage[] }
}
