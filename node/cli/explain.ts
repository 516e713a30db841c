import { writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import colors from 'picocolors'
import { explain, type GenerationTrace, type Segment, SEGMENTS, traceHtml, TraceStore, traceSvg, waterfall } from '../index.js'
import { action, command } from './command.js'
import { shortPeerId } from './swarm-events.js'
import { formatMs, type OutputOptions, table } from './terminal.js'

interface ExplainOptions extends OutputOptions {
  list?: boolean
  svg?: string
  html?: string
}

export function explainCommand (): Command {
  return command('explain', 'Say why a generation was slow, in sentences and layer by layer.', 'moeswarm explain --html slow.html')
    .argument('[generation id]', 'as moeswarm generate and /explain in the chat print it, or the trace id of a request to moeswarm serve (its x-request-id); a beginning will do (default: the last)')
    .option('--list', 'list the generations that are kept')
    .option('--svg <file>', 'write the layers\' waterfall there')
    .option('--html <file>', 'write a page with the sentences, the waterfall and the peers there')
    .action(async (id: string | undefined, options: ExplainOptions) => {
      await action<ExplainOptions>(async ({ list, svg, html }, { terminal }) => {
        const store = new TraceStore()
        if (list === true) {
          const traces = await Promise.all((await store.ids()).map(async one => await store.open(one)))
          for (const trace of traces) terminal.event('generation', { id: trace.id, traceId: trace.traceId, startedAt: trace.startedAt, model: trace.model, tokens: trace.tokens, tokensPerSecond: trace.tokensPerSecond, finishReason: trace.finishReason })
          terminal.result(`${table(['generation', 'trace', 'model', 'prompt', 'tokens', 'tok/s', 'first token', 'end'], traces.map(listRow))}\n`)
          return
        }
        const trace = await store.open(id)
        const sentences = explain(trace)
        terminal.event('explanation', { sentences, trace })
        terminal.result(`Generation ${trace.id}, trace ${trace.traceId}\n\n${sentences.map(sentence => wrapped(sentence)).join('\n')}\n\n${waterfallText(trace)}\n`)
        if (svg !== undefined) await writeFile(svg, traceSvg(trace))
        if (html !== undefined) await writeFile(html, traceHtml(trace))
        for (const file of [svg, html]) if (file !== undefined) terminal.note(`Wrote ${file}.`)
      })(options)
    })
}

function listRow ({ id, traceId, model, promptTokens, tokens, tokensPerSecond, firstTokenMs, finishReason }: GenerationTrace): string[] {
  return [id, traceId, model.slice(0, 12), String(promptTokens), String(tokens), tokensPerSecond.toFixed(1), formatMs(firstTokenMs ?? NaN), finishReason]
}

/** Columns of the bars. */
const BAR_COLUMNS = 48

/** Told apart by glyph where there is no colour. */
const INK: Record<Segment, { glyph: string, paint: (text: string) => string }> = {
  turn: { glyph: '·', paint: colors.dim },
  attention: { glyph: '█', paint: colors.blue },
  messages: { glyph: '▒', paint: colors.magenta },
  'dense MLP': { glyph: '▞', paint: colors.cyan },
  network: { glyph: '░', paint: colors.yellow },
  queue: { glyph: '▚', paint: colors.red },
  experts: { glyph: '▓', paint: colors.green }
}

/** A row a layer: when it begins in an average lap, what it is made of, and who was the slowest. */
export function waterfallText (trace: GenerationTrace): string {
  const layers = trace.layers.length > 0 ? trace.layers : trace.prefillLayers
  const rows = waterfall(layers)
  const total = rows.reduce((sum, { ms }) => sum + ms, 0)
  const column = (ms: number): number => total === 0 ? 0 : Math.round(ms / total * BAR_COLUMNS)
  const lines = rows.map(({ startMs, parts, ms }, i) => {
    let at = startMs
    const bar = parts.map(({ segment, ms: part }) => {
      const from = column(at)
      at += part
      return INK[segment].paint(INK[segment].glyph.repeat(column(at) - from))
    })
    const slowest = Object.entries(layers[i].slowest).sort((a, b) => b[1] - a[1])[0] as [string, number] | undefined
    return [String(layers[i].layer), ' '.repeat(column(startMs)) + bar.join(''), formatMs(ms), ...SEGMENTS.map(segment => formatMs(parts.find(part => part.segment === segment)!.ms)), slowest === undefined ? 'here' : shortPeerId(slowest[0])]
  })
  const legend = SEGMENTS.map(segment => `${INK[segment].paint(INK[segment].glyph)} ${segment}`).join('  ')
  return `An average ${trace.layers.length > 0 ? 'decoding lap' : 'prefill lap'}:  ${legend}\n${table(['layer', `${formatMs(total)} in the layers`, 'all', ...SEGMENTS, 'slowest'], lines)}`
}

/** A sentence as an item of a list, at the width of the terminal, at most of a page. */
export function wrapped (sentence: string): string {
  const width = Math.min(process.stdout.columns ?? 100, 100) - 2
  const lines = ['']
  for (const word of sentence.split(' ')) {
    if (lines.at(-1)!.length + word.length >= width) lines.push('')
    lines[lines.length - 1] += `${lines.at(-1) === '' ? '' : ' '}${word}`
  }
  return lines.map((line, i) => `${i === 0 ? '• ' : '  '}${line}`).join('\n')
}
