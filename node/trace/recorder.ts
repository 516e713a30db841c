import { randomBytes } from 'node:crypto'
import type { PeerStats, SwarmEvent } from '../../swarm/index.js'
import type { GenerateEvent } from '../client/generate.js'
import type { LayerEvent } from '../client/observed-dispatcher.js'
import { type GenerationTrace, type Incident, INCIDENTS_KEPT, type LapTime, LAPS_KEPT, type LayerTimes, type Span, SPANS_KEPT } from './trace.js'

/** Records one generation at a time. Hand `onLayer` and `onEvent` to `SwarmClient.open` and each event of the generation to `onGenerate`. */
export class TraceRecorder {
  private startedAt = new Date()
  private start = NaN
  private readonly prefill = new LayerSums()
  private readonly decode = new LayerSums()
  private current = this.prefill
  private readonly incidents: Incident[] = []
  private readonly spans: Span[] = []
  private done: GenerateEvent & { type: 'done' } | undefined

  /** The generation starts now. */
  begin (): void {
    this.startedAt = new Date()
    this.start = performance.now()
  }

  readonly onLayer = (event: LayerEvent): void => { this.current.add(event, performance.now(), this.start) }

  readonly onEvent = (event: SwarmEvent): void => {
    if (Number.isNaN(this.start)) return
    if (event.type === 'request-answered' && this.spans.length < SPANS_KEPT) this.spans.push({ spanId: event.spanId, peerId: event.peerId, layer: event.layer, atMs: performance.now() - this.start, ms: event.tookMs })
    const incident = incidentOf(event, performance.now() - this.start)
    if (incident !== undefined && this.incidents.length < INCIDENTS_KEPT) this.incidents.push(incident)
  }

  readonly onGenerate = (event: GenerateEvent): void => {
    if (event.type === 'token') this.current = this.decode
    if (event.type === 'done') this.done = event
  }

  /** Undefined before the generation is done. */
  trace (model: string, peers: PeerStats[], traceId?: string): GenerationTrace | undefined {
    if (this.done === undefined) return undefined
    const { promptTokens, tokens, finishReason, tokensPerSecond, firstTokenMs, lap, prefillLap } = this.done.generation
    const id = `${this.startedAt.toISOString().replace(/\D/g, '').slice(0, 14)}-${randomBytes(3).toString('hex')}`
    return {
      format: 1, id, startedAt: this.startedAt.toISOString(), model, ...(traceId !== undefined && { traceId }), promptTokens: promptTokens.length, tokens: tokens.length, finishReason,
      tokensPerSecond, firstTokenMs, lap, prefillLap, layers: this.decode.means(), prefillLayers: this.prefill.means(), laps: this.decode.laps, peers, incidents: this.incidents, spans: this.spans
    }
  }
}

function incidentOf (event: SwarmEvent, atMs: number): Incident | undefined {
  switch (event.type) {
    case 'request-failed': return { atMs, type: event.type, layer: event.layer, peerId: event.peerId, code: event.code }
    case 'experts-waiting': return { atMs, type: event.type, layer: event.layer }
    case 'peer-lost': return { atMs, type: event.type, peerId: event.peerId, code: event.reason }
    case 'request-hedged': return { atMs, type: event.type, layer: event.layer, peerId: event.peerId }
    default: return undefined
  }
}

interface LayerSum extends LayerTimes {
  /** Laps whose `beforeMs` is known: of those that did not overlap with others. */
  befores: number
}

/** Adds up laps of one kind by their layers. */
class LayerSums {
  private readonly lapTimes: LapTime[] = []
  private readonly sums = new Map<number, LayerSum>()
  private lapStart = 0
  private waiting = 0
  private answeredAt = NaN
  private lapAt = NaN

  add (event: LayerEvent, now: number, start: number): void {
    const sum = this.sumOf(event.layer)
    if (event.type === 'asked') {
      // With laps in flight beside this one, what lies between two events is not one lap's.
      if (this.waiting++ === 0 && event.layer > 0 && !Number.isNaN(this.answeredAt)) {
        sum.beforeMs += now - this.answeredAt
        sum.befores++
      }
      if (event.layer === 0) {
        this.endLap()
        this.lapAt = now
        this.lapStart = start
      }
      return
    }
    this.waiting--
    this.answeredAt = now
    sum.laps++
    sum.exchangeMs += event.ms
    sum.networkMs += event.timing.networkMs
    sum.queueMs += event.timing.queueMs
    sum.serviceMs += event.timing.serviceMs
    const { slowestPeer } = event.timing
    if (slowestPeer !== undefined) sum.slowest[slowestPeer] = (sum.slowest[slowestPeer] ?? 0) + 1
  }

  get laps (): LapTime[] {
    this.endLap()
    return this.lapTimes
  }

  means (): LayerTimes[] {
    return [...this.sums.values()].filter(({ laps }) => laps > 0).sort((a, b) => a.layer - b.layer).map(({ befores, ...sum }) => ({
      ...sum,
      beforeMs: befores === 0 ? 0 : sum.beforeMs / befores,
      exchangeMs: sum.exchangeMs / sum.laps,
      networkMs: sum.networkMs / sum.laps,
      queueMs: sum.queueMs / sum.laps,
      serviceMs: sum.serviceMs / sum.laps
    }))
  }

  private endLap (): void {
    if (!Number.isNaN(this.lapAt) && this.lapTimes.length < LAPS_KEPT) this.lapTimes.push({ atMs: this.lapAt - this.lapStart, ms: this.answeredAt - this.lapAt })
    this.lapAt = NaN
  }

  private sumOf (layer: number): LayerSum {
    let sum = this.sums.get(layer)
    if (sum === undefined) {
      sum = { layer, laps: 0, beforeMs: 0, befores: 0, exchangeMs: 0, networkMs: 0, queueMs: 0, serviceMs: 0, slowest: {} }
      this.sums.set(layer, sum)
    }
    return sum
  }
}
