import { counted } from '../../model-tools/index.js'
import type { PeerStats } from '../../swarm/index.js'
import type { GenerationTrace, TracedLayer } from './trace.js'

/** What took less than this share of a lap is not worth a sentence. */
const WORTH_SAYING = 0.1

/** A layer, a lap or a peer that takes this many times the median stands out. */
const OUTLIER = 2

/** Why a generation took as long as it did, in sentences, what matters most first; after each cause what would help. */
export function explain (trace: GenerationTrace): string[] {
  return [...overview(trace), ...causes(trace).sort((a, b) => b.share - a.share).map(({ text }) => text), ...outliers(trace), ...sharing(trace), ...incidents(trace)]
    .map(text => text.replace(/(^|[.;] )peer …/g, (_, before: string) => `${before}${before.startsWith(';') ? 'peer' : 'Peer'} …`))
}

function overview (trace: GenerationTrace): string[] {
  const { promptTokens, cachedTokens = 0, restoredTokens = 0, queuedMs = 0, tokensPerSecond, firstTokenMs, lap, prefillLap, prefillLaps = 1 } = trace
  const made = madeTokens(trace)
  const before = restoredTokens === 0 ? '' : `; it went on from ${counted(restoredTokens, 'token')} of an earlier run`
  const said = [made < 2
    ? `${counted(made, 'token')} generated (${end(trace)})${before}: there is no decoding to explain.`
    : `${made} tokens at ${tokensPerSecond.toFixed(1)} tok/s, ${ms(lap.total)} a pass through the layers (${end(trace)})${before}.`]
  if (trace.failure !== undefined) said.push(`It failed with: ${trace.failure}`)
  if (queuedMs > WORTH_SAYING * (queuedMs + (firstTokenMs ?? 0)) && queuedMs > 1) said.push(`It waited ${ms(queuedMs)} for its turn before it began: as many texts as may run at a time were under way (--parallel of moeswarm serve).`)
  const read = restoredTokens === 0 ? counted(promptTokens, 'token') : `${counted(promptTokens, 'token')}, and what there was of the answer,`
  const cached = cachedTokens === 0 ? '' : `, ${cachedTokens} of them known from an earlier text,`
  const passes = `${prefillLaps === 1 ? 'one pass' : `${prefillLaps} passes`} of ${ms(prefillLap.total)}`
  if (firstTokenMs === undefined) said.push(prefillLaps === 0 ? `It came to its end in the first pass of a prompt of ${read}.` : `It came to its end within a prompt of ${read}, after ${passes}.`)
  else if (made > 0) said.push(`The first token came after ${ms(firstTokenMs)}: a prompt of ${read}${cached} in ${passes}${prefillLaps > 1 ? ', several at a time' : ''}.`)
  return said
}

/** Generated in this run, not in one that it went on from. */
function madeTokens ({ tokens, restoredTokens = 0 }: GenerationTrace): number {
  return tokens - restoredTokens
}

function end ({ finishReason }: GenerationTrace): string {
  return finishReason === 'stopped' ? 'stopped by Ctrl-C, or by a client that left' : finishReason
}

interface Cause { share: number, text: string }

function causes (trace: GenerationTrace): Cause[] {
  const { lap, layers } = trace
  if (madeTokens(trace) < 2) return []
  const asked = layers.filter(({ slowest }) => Object.keys(slowest).length > 0)
  const local = lap.attention + lap.denseMlp + lap.head + lap.embedding
  const found: Array<Cause | undefined> = [
    cause(lap, lap.network, share => `${share} of a pass's time was travel to the peers and back. ${travel(trace, asked)}`),
    cause(lap, lap.queue, share => asked.length === 0
      ? `${share} was waiting for a free compute worker of this machine: more --threads, or fewer texts at a time, help.`
      : `${share} was waiting for a free worker at the peers. ${queue(trace)}`),
    cause(lap, lap.experts, share => asked.length === 0
      ? `${share} was computing experts on this machine. Peers that hold some of the layers would share that work.`
      : `${share} was computing at the peers. ${service(trace)}`),
    cause(lap, local, share => `${share} was this machine's own part: attention and router ${ms(lap.attention)}, dense MLP ${ms(lap.denseMlp)}, head ${ms(lap.head)}. No peer can help there; more --threads, fewer other programs or a faster machine can.`),
    cause(lap, lap.turn, share => `${share} was waiting for laps of other sequences, or for the one before in the same sequence.`),
    cause(lap, lap.send + lap.serialise, share => asked.length === 0
      ? `${share} was handing batches to this machine's compute workers.`
      : `${share} was encoding and handing requests to sockets: fewer, larger holders of the layers need fewer requests.`)
  ]
  return found.filter(one => one !== undefined)
}

function cause ({ total }: GenerationTrace['lap'], part: number, text: (share: string) => string): Cause | undefined {
  const share = total === 0 ? 0 : part / total
  return share < WORTH_SAYING ? undefined : { share, text: text(`${Math.round(100 * share)} % (${ms(part)} of ${ms(total)})`) }
}

function travel ({ peers, layers }: GenerationTrace, asked: TracedLayer[]): string {
  const slowest = slowestPeer(asked)
  const fastest = peers.filter(({ latencyMs }) => Number.isFinite(latencyMs)).sort((a, b) => a.latencyMs - b.latencyMs)[0] as PeerStats | undefined
  const advice = 'Each layer is a round trip, so what helps is a peer nearer to you, computing some layers here with --local-layers, or drafted tokens that share a round trip.'
  if (slowest === undefined) return advice
  const latency = peers.find(({ peerId }) => peerId === slowest.peerId)?.latencyMs ?? NaN
  const of = `${name(slowest.peerId)} was the slowest of those asked in ${slowest.times} of ${asked.reduce((n, layer) => n + Object.values(layer.slowest).reduce((a, b) => a + b, 0), 0)} exchanges${Number.isFinite(latency) ? `, at a round trip of ${ms(latency)} x ${layers.length} layers` : ''}.`
  const nearer = fastest !== undefined && fastest.peerId !== slowest.peerId && fastest.latencyMs * OUTLIER < latency ? ` ${name(fastest.peerId)} is ${(latency / fastest.latencyMs).toFixed(1)} times nearer: a replica of the layers there would cut most of it.` : ''
  return `${of}${nearer} ${advice}`
}

function queue ({ peers }: GenerationTrace): string {
  const busiest = [...peers].sort((a, b) => b.queueMs - a.queueMs)[0] as PeerStats | undefined
  const who = busiest === undefined ? '' : `At ${name(busiest.peerId)} a request waited ${ms(busiest.queueMs)} on average. `
  return `${who}It serves others too, or has few cores for the blocks that it hosts: another replica of these layers would take a part of it.`
}

function service ({ peers }: GenerationTrace): string {
  const slowest = [...peers].sort((a, b) => b.serviceMs - a.serviceMs)[0] as PeerStats | undefined
  if (slowest === undefined) return ''
  const others = peers.filter(({ peerId }) => peerId !== slowest.peerId)
  const usual = median(others.map(({ serviceMs }) => serviceMs))
  const compared = others.length > 0 && slowest.serviceMs > OUTLIER * usual ? `, ${(slowest.serviceMs / Math.max(usual, 1e-9)).toFixed(1)} times the others'` : ''
  return `${name(slowest.peerId)} took ${ms(slowest.serviceMs)} a request${compared}. Experts are read from memory once a token, so faster memory, more cores or a second holder that shares the experts of a layer helps.`
}

function outliers ({ layers, laps }: GenerationTrace): string[] {
  const said: string[] = []
  const usual = median(layers.map(waited))
  const slow = layers.filter(layer => waited(layer) > OUTLIER * usual && waited(layer) - usual > 1).sort((a, b) => waited(b) - waited(a))
  if (slow.length > 0) {
    const who = slowestPeer([slow[0]])
    said.push(`Layer ${slow[0].layer} stands out: its experts took ${ms(waited(slow[0]))}, against ${ms(usual)} in the median layer${who === undefined ? '' : `; ${name(who.peerId)} was the slowest there`}.${slow.length > 1 ? ` So do ${slow.length - 1} more.` : ''}`)
  }
  const usualLap = median(laps.map(lap => lap.ms))
  const worst = laps.reduce((a, b) => b.ms > a.ms ? b : a, { atMs: 0, ms: 0 })
  if (laps.length > 3 && worst.ms > OUTLIER * usualLap) said.push(`The slowest pass took ${ms(worst.ms)}, ${(worst.ms / usualLap).toFixed(1)} times the median of ${ms(usualLap)}, ${(worst.atMs / 1000).toFixed(1)} s after the start.`)
  return said
}

/** Times are those that this text waited: what it shared with others is not divided between them. */
function sharing ({ spans }: GenerationTrace): string[] {
  const shared = spans.filter(({ sharedWith }) => sharedWith !== undefined)
  if (shared.length === 0) return []
  const texts = shared.reduce((sum, { sharedWith }) => sum + 1 + sharedWith!, 0) / shared.length
  return [`${shared.length} of ${spans.length} requests carried tokens of other texts as well, of ${texts.toFixed(1)} texts on average: their times are whole here, for this text waited that long; its own part of the work was smaller.`]
}

function incidents ({ incidents: all }: GenerationTrace): string[] {
  const of = (type: string): typeof all => all.filter(incident => incident.type === type)
  const said: string[] = []
  const failed = of('request-failed')
  if (failed.length > 0) {
    const codes = [...new Set(failed.map(({ code }) => code))].map(code => `${code} ${failed.filter(one => one.code === code).length}`).join(', ')
    said.push(`${counted(failed.length, 'request')} failed and went to replicas (${codes}), from ${[...new Set(failed.map(({ peerId }) => name(peerId ?? '')))].join(', ')}: each costs the time until it was noticed.`)
  }
  const hedged = of('request-hedged')
  if (hedged.length > 0) said.push(`${counted(hedged.length, 'request was', 'requests were')} late and asked of a replica too.`)
  const waits = of('experts-waiting')
  if (waits.length > 0) said.push(`${waits.length === 1 ? 'Once' : `${waits.length} times`} nobody held the experts of a layer (${[...new Set(waits.map(({ layer }) => layer))].join(', ')}) and the generation waited: these layers need replicas.`)
  const lost = of('peer-lost')
  if (lost.length > 0) said.push(`${[...new Set(lost.map(({ peerId }) => name(peerId ?? '')))].join(', ')} went away meanwhile.`)
  return said
}

function slowestPeer (layers: TracedLayer[]): { peerId: string, times: number } | undefined {
  const times = new Map<string, number>()
  for (const { slowest } of layers) for (const [peerId, count] of Object.entries(slowest)) times.set(peerId, (times.get(peerId) ?? 0) + count)
  const [first] = [...times].sort((a, b) => b[1] - a[1])
  return first === undefined ? undefined : { peerId: first[0], times: first[1] }
}

/** What the experts of a layer are waited for, after the dense MLP. */
function waited ({ network, queue, experts }: TracedLayer): number {
  return network + queue + experts
}

function median (values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted.length === 0 ? 0 : sorted[Math.floor(sorted.length / 2)]
}

function name (peerId: string): string {
  return `peer …${peerId.slice(-8)}`
}

function ms (value: number): string {
  return value >= 1000 ? `${(value / 1000).toFixed(1)} s` : value < 10 ? `${value.toFixed(2)} ms` : `${value.toFixed(1)} ms`
}
