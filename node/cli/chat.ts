import type { Command } from 'commander'
import colors from 'picocolors'
import { asSwarmError, GenerationTraces, known, ModelError, TrafficMonitor } from '../index.js'
import { Conversation } from './chat/conversation.js'
import { MessageInput } from './chat/message-input.js'
import { PromptLines } from './chat/prompt-lines.js'
import { type ChatContext, runSlashCommand } from './chat/slash-commands.js'
import { type ClientOptions, openClient, withClientOptions } from './client-options.js'
import { action, command, parse, type Run } from './command.js'
import { describeLied } from './swarm-events.js'

interface ChatOptions extends ClientOptions {
  system?: string
  temperature?: number
  topK?: number
  topP?: number
  seed?: number
  maxTokens?: number
  trace: boolean
}

export function chatCommand (): Command {
  return withClientOptions(command('chat', 'Talk with the model in the terminal.', 'moeswarm chat --model ./demo.bundle --bootstrap /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW...'))
    .option('--system <text>', 'tell the model who it is')
    .option('--max-tokens <n>', 'tokens of an answer at most (default: up to the model\'s context)', parse.count(1))
    .option('--temperature <t>', '0 is greedy (default: the model\'s)', parse.number(0))
    .option('--top-k <k>', 'keep the k most likely tokens, 0 keeps all (default: the model\'s)', parse.count(0))
    .option('--top-p <p>', 'keep the most likely tokens of probability p together (default: the model\'s)', parse.number(0, 1, true))
    .option('--seed <s>', 'equal seeds give equal answers (default: by chance)', parse.count(0))
    .option('--no-trace', 'keep no record of times and peers for moeswarm explain')
    .addHelpText('after', '\nType /help in the chat for its commands. Input that is piped in is taken line by line.\n')
    .action(action<ChatOptions>(run))
}

async function run (options: ChatOptions, { terminal, signal }: Run): Promise<void> {
  const monitor = new TrafficMonitor()
  const traces = options.trace ? new GenerationTraces(problem => { terminal.note(problem) }) : undefined
  const client = await openClient(options, { terminal, signal }, { onLayer: monitor.onLayer, onEvent: traces?.onEvent })
  try {
    const { temperature, topK, topP, seed, maxTokens } = options
    const conversation = new Conversation(client, {
      monitor,
      traces,
      paranoid: options.paranoid,
      onGenerate: event => {
        if (event.type !== 'lied') return
        terminal.event('lied', { peerId: event.peerId, replies: event.replies, again: event.again })
        terminal.error(`\n${describeLied(event)}`)
      }
    }, { temperature, topK, topP, seed, maxTokens })
    conversation.system = options.system
    const lines = await PromptLines.open(signal)
    try {
      if (lines.isTerminal) terminal.note(`${known(client.bundle).name}: type a message, or /help. Ctrl-C stops an answer, Ctrl-D ends.`)
      await converse({ client, monitor, traces, conversation, terminal }, lines, signal)
    } finally {
      await lines.close()
    }
  } finally {
    await traces?.settle()
    await client.close()
  }
}

async function converse (context: ChatContext, lines: PromptLines, signal: AbortSignal): Promise<void> {
  const input = new MessageInput()
  let interrupted = false
  for (;;) {
    const typed = await lines.next(input.open ? '... ' : '> ')
    if (typed.type === 'interrupt') {
      const had = lines.clearLine() || input.open
      input.clear()
      if (interrupted && !had) return
      interrupted = !had
      context.terminal.note(interrupted ? '\n(Ctrl-C once more ends, as /quit and Ctrl-D do)' : '')
      continue
    }
    interrupted = false
    const message = typed.type === 'end' ? input.end() : input.push(typed.line)
    if (message !== undefined && message.trim() !== '') {
      if (message.startsWith('/') && !message.includes('\n')) {
        if (!await runSlashCommand(message, context)) return
      } else {
        await answer(message, context, lines, signal)
      }
    }
    if (typed.type === 'end') return
    signal.throwIfAborted()
  }
}

async function answer (message: string, { conversation, terminal, monitor }: ChatContext, lines: PromptLines, signal: AbortSignal): Promise<void> {
  const stop = new AbortController()
  const ends = AbortSignal.any([stop.signal, signal])
  const before = lines.onInterrupt
  lines.onInterrupt = () => { stop.abort() }
  try {
    const end = await conversation.ask(message, ends, text => {
      terminal.result(text)
      terminal.event('text', { text })
    }, process.stdout.isTTY ? () => { terminal.result('\n') } : undefined)
    terminal.result('\n')
    terminal.event('done', { end, ...(end !== 'interrupted' && monitor.last()) })
    if (end === 'interrupted') terminal.note(colors.dim('(stopped)'))
    if (end === 'context') terminal.note(colors.dim('(the context is full: /reset begins anew)'))
  } catch (error) {
    // A chat goes on after what a person or the swarm can mend.
    if (!(error instanceof ModelError) && asSwarmError(error) === undefined) throw error
    terminal.result('\n')
    terminal.event('error', { message: (error as Error).message })
    terminal.note(error instanceof ModelError && 'maxPositions' in error.data ? `${error.message} /reset begins a new conversation.` : (error as Error).message)
  } finally {
    lines.onInterrupt = before
  }
}
