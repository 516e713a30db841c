import { UsageError } from '../command.js'
import { wrapped } from '../explain.js'
import { lapTable, peerTable } from '../generation-tables.js'
import { formatMs, type Terminal } from '../terminal.js'
import { counted, explain, type GenerationTraces, type SwarmClient, type TrafficMonitor } from '../../index.js'
import type { ChatSettings, Conversation } from './conversation.js'

/** What the commands work on. */
export interface ChatContext {
  client: SwarmClient
  monitor: TrafficMonitor
  /** Absent where no traces are kept. */
  traces?: GenerationTraces
  conversation: Conversation
  terminal: Terminal
}

interface SlashCommand {
  usage: string
  description: string
  run: (argument: string, context: ChatContext) => Promise<void> | void
}

const COMMANDS: Record<string, SlashCommand> = {
  help: { usage: '/help', description: 'this list', run: (_, { terminal }) => { terminal.note(helpText()) } },
  reset: {
    usage: '/reset',
    description: 'begin anew; the system text stays',
    run: (_, { conversation, terminal }) => {
      conversation.reset()
      terminal.note('A new conversation.')
    }
  },
  system: {
    usage: '/system [text]',
    description: 'tell the model who it is; without text show it, with - remove it',
    run: (text, { conversation, terminal }) => {
      if (text !== '') conversation.system = text === '-' ? undefined : text
      terminal.note(conversation.system === undefined ? 'No system text.' : `System: ${conversation.system}`)
    }
  },
  set: {
    usage: '/set [name value]',
    description: 'temperature, top-k, top-p, seed, max-tokens; "default" leaves one to the model; without a name show all',
    run: (argument, { conversation, terminal }) => {
      if (argument !== '') set(conversation.settings, argument)
      terminal.note(Object.entries(SETTINGS).map(([name, { key }]) => `${name} ${conversation.settings[key] ?? 'default'}`).join(', '))
    }
  },
  model: {
    usage: '/model',
    description: 'which model this is',
    run: (_, { client: { bundle, config }, terminal }) => {
      terminal.note(`${bundle.dir}, model ${bundle.id.slice(0, 12)}: ${config.layerTypes.length} layers of ${config.experts} experts, ${config.topK} for each token, context ${config.maxPositions}.`)
    }
  },
  peers: {
    usage: '/peers',
    description: 'who computes the experts',
    run: (_, { client, terminal }) => {
      const peers = client.peers()
      terminal.note(peers.length === 0 ? 'Nobody but this machine so far.' : peerTable(peers, client.plan()))
    }
  },
  stats: {
    usage: '/stats',
    description: 'how fast the last answer was, and where the time went',
    run: (_, { monitor, terminal }) => {
      const last = monitor.last()
      if (last === undefined) return terminal.note('No answer has come to its end yet.')
      terminal.note(`${counted(last.tokens, 'token')} after a prompt of ${last.promptTokens}, ${last.tokensPerSecond.toFixed(1)} tok/s, first token after ${formatMs(last.firstTokenMs)}.\n\n${lapTable(last.lap)}`)
    }
  },
  explain: {
    usage: '/explain',
    description: 'why the last answer took as long as it did',
    run: (_, { traces, terminal }) => {
      if (traces === undefined) return terminal.note('This chat keeps no traces: it was started with --no-trace.')
      const { last } = traces
      terminal.note(last === undefined ? 'No answer has come to its end yet.' : `${explain(last).map(wrapped).join('\n')}\nLayer by layer: moeswarm explain ${last.id}`)
    }
  },
  save: {
    usage: '/save <file>',
    description: 'write the conversation to a file',
    run: async (file, { conversation, terminal }) => {
      await conversation.save(named(file, '/save'))
      terminal.note(`Saved ${counted(conversation.messages.length, 'message')} to ${file}.`)
    }
  },
  load: {
    usage: '/load <file>',
    description: 'go on with a conversation from a file',
    run: async (file, { conversation, terminal }) => {
      await conversation.load(named(file, '/load'))
      terminal.note(`Loaded ${counted(conversation.messages.length, 'message')} from ${file}.`)
    }
  },
  quit: { usage: '/quit', description: 'end; Ctrl-D and two Ctrl-C do too', run: () => {} }
}

/** Of the commands, for completion. */
export const SLASH_NAMES = Object.keys(COMMANDS).map(name => `/${name}`)

/** Runs what a line that begins with a slash asks for. False when the chat is to end. A mistake is told, not thrown. */
export async function runSlashCommand (line: string, context: ChatContext): Promise<boolean> {
  const [, name, argument] = /^\/(\S*)\s*([^]*)$/.exec(line)!
  if (name === 'quit' || name === 'exit' || name === 'bye') return false
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  try {
    if (command === undefined) throw new UsageError(`There is no /${name}; /help lists what there is.`)
    await command.run(argument.trim(), context)
  } catch (error) {
    context.terminal.note(error instanceof Error ? error.message : String(error))
  }
  return true
}

function helpText (): string {
  const width = Math.max(...Object.values(COMMANDS).map(({ usage }) => usage.length))
  const lines = Object.values(COMMANDS).map(({ usage, description }) => `  ${usage.padEnd(width)}  ${description}`)
  return [...lines, '', 'A backslash at the end of a line goes on in the next; lines between """ are one message. Ctrl-C stops an answer.'].join('\n')
}

function named (file: string, command: string): string {
  if (file === '') throw new UsageError(`Name a file: ${command} story.json`)
  return file
}

const SETTINGS: Record<string, { key: keyof ChatSettings, what: string, allows: (value: number) => boolean }> = {
  temperature: { key: 'temperature', what: 'a number from 0 on', allows: value => value >= 0 },
  'top-k': { key: 'topK', what: 'a whole number from 0 (all) on', allows: value => Number.isInteger(value) && value >= 0 },
  'top-p': { key: 'topP', what: 'a number above 0 and at most 1', allows: value => value > 0 && value <= 1 },
  seed: { key: 'seed', what: 'a whole number', allows: Number.isSafeInteger },
  'max-tokens': { key: 'maxTokens', what: 'a whole number from 1 on', allows: value => Number.isInteger(value) && value >= 1 }
}

function set (settings: ChatSettings, argument: string): void {
  const [name, value = ''] = argument.split(/[\s=]+/)
  const setting = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined
  if (setting === undefined) throw new UsageError(`There is no setting ${name}; there are ${Object.keys(SETTINGS).join(', ')}.`)
  if (value === 'default') return void delete settings[setting.key]
  const number = Number(value)
  if (value === '' || !Number.isFinite(number) || !setting.allows(number)) throw new UsageError(`${name} is ${setting.what}.`)
  settings[setting.key] = number
}
