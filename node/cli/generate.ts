import { text as readAll } from 'node:stream/consumers'
import { type Command, InvalidArgumentError } from 'commander'
import {
  type AuditCounters, counted, formatRanges, type Generation, GenerationTraces, parseTraceId, type PeerStats, type SpeculationSummary, type SwarmClient, type TraceRecorder
} from '../index.js'
import { type ClientOptions, openClient, withClientOptions } from './client-options.js'
import { action, command, parse, type Run, UsageError } from './command.js'
import { lapTable, peerTable } from './generation-tables.js'
import { refuseOptionsOfTheText, Resumable, type ResumeOptions } from './resumable.js'
import { describeLied } from './swarm-events.js'
import { formatMs } from './terminal.js'

interface GenerateCommandOptions extends ClientOptions, ResumeOptions {
  prompt?: string
  promptIds?: string
  chat?: boolean
  maxTokens: number
  temperature?: number
  topK?: number
  topP?: number
  seed?: number
  trace: boolean
  traceparent?: string
}

export function generateCommand (): Command {
  const self: Command = withClientOptions(command('generate', 'Generate text with experts in the swarm, on this machine, or both.', 'moeswarm generate --model ./demo.bundle --bootstrap /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW... --prompt "Once upon a time"'))
    .option('--prompt <text>', 'text to go on from (default: stdin)')
    .option('--prompt-ids <ids>', 'token ids to go on from, such as 2,612,632')
    .option('--chat', 'take the prompt as a question and answer it, by the model\'s chat template')
    .option('--max-tokens <n>', 'tokens to generate at most', parse.count(1), 256)
    .option('--temperature <t>', '0 is greedy (default: the model\'s)', parse.number(0))
    .option('--top-k <k>', 'keep the k most likely tokens, 0 keeps all (default: the model\'s)', parse.count(0))
    .option('--top-p <p>', 'keep the most likely tokens of probability p together (default: the model\'s)', parse.number(0, 1, true))
    .option('--seed <s>', 'equal seeds give equal texts (default: by chance)', parse.count(0))
    .option('--traceparent <id>', 'W3C trace id or traceparent that names the requests here and in the logs of peers (default: $TRACEPARENT)', parseTraceparent)
    .option('--no-trace', 'keep no record of times and peers for moeswarm explain')
    .option('--save <file>', 'keep the answer\'s state in this file, whole or cut short (default: one that is cut short, in the state directory)')
    .option('--resume <file|id>', 'go on with an answer that was cut short: its prompt, its options, the same tokens as if it had not been')
    .action(action<GenerateCommandOptions>(async (options, given) => { await run(options, given, self) }))
  return self
}

async function run (options: GenerateCommandOptions, { terminal, signal }: Run, self: Command): Promise<void> {
  if (options.resume !== undefined) refuseOptionsOfTheText(self)
  const prompt = options.resume === undefined ? await readPrompt(options) : undefined
  const traceId = options.traceparent ?? parseTraceId(process.env.TRACEPARENT ?? '')
  const traces = options.trace ? new GenerationTraces(problem => { terminal.note(problem) }) : undefined
  const client = await openClient(options, { terminal, signal }, { onEvent: traces?.onEvent })
  let resumable: Resumable | undefined
  let whole = false
  // Without a terminal nobody sees what a liar had a part in.
  const held = options.paranoid === true && process.stdout.isTTY !== true
  let midLine = false
  const write = (text: string): void => {
    terminal.result(text)
    if (text !== '') midLine = !text.endsWith('\n')
  }
  const show = (text: string): void => { if (!held) write(text) }
  let recorder: TraceRecorder | undefined
  let failure: unknown
  try {
    resumable = prompt === undefined ? await Resumable.resume(client, options) : begin(client, prompt, options)
    const { state } = resumable
    recorder = traces?.begin({ promptTokens: state.promptTokens.length, traceId })
    const events = client.generate(state.promptTokens, {
      maxTokens: state.maxTokens,
      sampling: state.sampling,
      generated: [...state.tokens],
      paranoid: options.paranoid,
      traceId,
      ...recorder?.options,
      signal
    })
    write(state.promptText ?? '')
    let written = 0
    for await (const event of events) {
      recorder?.onGenerate(event)
      if (event.type === 'token') {
        state.tokens.push(event.id)
        show(event.text)
        written += event.text.length
        terminal.event('token', { id: event.id, text: event.text })
      } else if (event.type === 'restored') {
        state.tokens = event.tokens
        // What a terminal shows already cannot be taken back: the text begins anew below it.
        show(`${event.because === 'liar' ? `\n${state.promptText ?? ''}` : ''}${event.text}`)
        written = event.text.length
        terminal.event('restored', { because: event.because, tokens: event.tokens, text: event.text })
      } else if (event.type === 'lied') {
        terminal.event('lied', { peerId: event.peerId, replies: event.replies, again: event.again })
        terminal.error(`\n${describeLied(event)}`)
      } else if (event.type === 'done') {
        whole = true
        // What an unfinished character at the end came to.
        write(`${held ? event.generation.text : event.generation.text.slice(written)}\n`)
        const peers = client.peers()
        const trace = recorder && traces?.end(recorder, client)?.id
        await traces?.settle()
        terminal.event('done', { ...event.generation, peers, audits: client.audits(), plan: client.plan(), localLayers: [...client.localLayers], partlyLocal: client.partlyLocal, trace })
        if (!terminal.json) terminal.note(summary(event.generation, peers, client))
        if (!terminal.json && trace !== undefined) terminal.note(`\nWhere the time went: moeswarm explain ${trace}`)
      }
    }
  } catch (error) {
    if (!signal.aborted) failure = error
    throw error
  } finally {
    // What is said now does not stand behind the text.
    if (midLine) terminal.result('\n')
    if (!whole && recorder !== undefined) traces?.end(recorder, client, failure)
    await traces?.settle()
    await resumable?.keep({ whole, self, terminal })
    await client.close()
  }
}

/** Seeds by chance are below this. */
const SEEDS = 2 ** 31

function begin (client: SwarmClient, prompt: { text: string, ids?: number[] }, options: GenerateCommandOptions): Resumable {
  const { temperature, topK, topP, seed = Math.floor(Math.random() * SEEDS) } = options
  const own = client.config.sampling
  const promptTokens = prompt.ids ?? (options.chat === true ? client.encodeChat([{ role: 'user', content: prompt.text }]) : client.encode(prompt.text))
  return Resumable.begin(client, {
    promptTokens,
    ...options.chat !== true && prompt.ids === undefined && { promptText: prompt.text },
    maxTokens: options.maxTokens,
    sampling: { temperature: temperature ?? own.temperature, topK: topK ?? own.topK, topP: topP ?? own.topP, seed }
  }, options)
}

function parseTraceparent (text: string): string {
  const id = parseTraceId(text)
  if (id === undefined) throw new InvalidArgumentError('It is 32 hex digits, or a traceparent such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.')
  return id
}

async function readPrompt ({ prompt, promptIds }: GenerateCommandOptions): Promise<{ text: string, ids?: number[] }> {
  if (prompt !== undefined && promptIds !== undefined) throw new UsageError('Give --prompt or --prompt-ids, not both.')
  if (promptIds !== undefined) {
    const ids = promptIds.split(',').map(id => /^\s*\d+\s*$/.test(id) ? Number(id) : NaN)
    if (ids.some(Number.isNaN)) throw new UsageError('--prompt-ids takes token ids separated by commas, such as 2,612,632.')
    return { text: '', ids }
  }
  if (prompt === '') throw new UsageError('The prompt is empty: give --prompt "text", or pipe one in.')
  if (prompt !== undefined) return { text: prompt }
  if (process.stdin.isTTY) throw new UsageError('No prompt: give --prompt "text", or pipe one in.')
  const piped = (await readAll(process.stdin)).trimEnd()
  if (piped === '') throw new UsageError('The prompt on stdin is empty: give --prompt "text", or pipe one in.')
  return { text: piped }
}

/** Positions of a draft that the summary shows; --json has all. */
const SHOWN_POSITIONS = 8

function speculated ({ tokensPerLap, acceptedByPosition, draftShare, drafters }: SpeculationSummary): string {
  const laps = Object.entries(drafters).map(([name, own]) => `${own.laps} ${name === 'none' ? 'without' : `by ${name}`}`).join(', ')
  const accepted = acceptedByPosition.slice(0, SHOWN_POSITIONS).map(share => `${(100 * share).toFixed(0)} %`).join(', ')
  return `Drafts: ${tokensPerLap.toFixed(2)} tokens a lap (laps ${laps}), accepted by position ${accepted}, ${(100 * draftShare).toFixed(0)} % of the time spent drafting.`
}

function audited ({ compared, alone, disagreements, liars }: AuditCounters): string {
  return `Compared with another peer: ${counted(compared, 'request')}, ${disagreements} of them beyond the tolerance, ${counted(liars, 'liar')} found${alone === 0 ? '' : `; ${alone} more could not be, for nobody else holds their experts`}.`
}

function summary ({ promptTokens, tokens, restoredTokens, finishReason, tokensPerSecond, firstTokenMs, lap, speculation }: Generation, peers: PeerStats[], client: SwarmClient): string {
  const made = tokens.length - restoredTokens
  const lines = [
    '',
    `${counted(tokens.length, 'token')} (${finishReason}) after a prompt of ${promptTokens.length}${restoredTokens === 0 ? '' : `, ${restoredTokens} of them from before`}${made === 0 ? '' : `, ${tokensPerSecond.toFixed(1)} tok/s, first token after ${formatMs(firstTokenMs)}`}.`,
    // An answer that was whole already takes no lap.
    ...lap.total === 0 ? [] : ['', lapTable(lap)]
  ]
  if (speculation.drafted > 0) lines.push('', speculated(speculation))
  const here = [
    ...client.localLayers.size === 0 ? [] : [`layers ${formatRanges([...client.localLayers])}`],
    ...client.partlyLocal.map(({ layer, experts }) => `experts ${formatRanges(experts)} of layer ${layer}`)
  ]
  if (here.length > 0) lines.push('', `Computed here: ${here.join(', ')}.`)
  if (peers.length > 0) lines.push('', peerTable(peers, client.plan()))
  const audits = client.audits()
  if (audits !== undefined && audits.compared + audits.alone > 0) lines.push('', audited(audits))
  return lines.join('\n')
}
