import { randomBytes } from 'node:crypto'
import type { PeerStats, SwarmEvent } from '../../swarm/index.js'
import type { GenerateEvent } from '../client/generate.js'
import type { LayerTimes } from '../client/lap-profile.js'
import type { LayerEvent } from '../client/observation.js'
import { type GenerationTrace, type Incident, INCIDENTS_KEPT, type LapTime, LAPS_KEPT, type Span, SPANS_KEPT, type TracedLayer } from './trace.js'

/** Records one generation: hand it `traceId` and `onLayer`, each of its events to `onGenerate`, and the client's to `onEvent`, which tells by the trace id which are of this generation. */
export class TraceRecorder {
  private readonly startedAt = new Date()
  private readonly start = performance.now()
  private readonly prefill = new LapWatch()
  private readonly decode = new LapWatch()
  private current = this.prefill
  private readonly incidents: Incident[] = []
  private readonly spans: Span[] = []
  private done: GenerateEvent & { type: 'done' } | undefined

  /** The generation starts now. @param traceId - W3C trace id of its requests */
  constructor (readonly traceId: string) {}

  readonly onLayer = (event: LayerEvent): void => { this.current.add(event, performance.now(), this.start) }

  readonly onEvent = (event: SwarmEvent): void => {
    const texts = textsOf(event)
    if (texts !== undefined && !texts.includes(this.traceId)) return
    if (event.type === 'request-answered' && this.spans.length < SPANS_KEPT) {
      this.spans.push({ spanId: event.spanId, peerId: event.peerId, layer: event.layer, atMs: performance.now() - this.start, ms: event.tookMs, ...texts!.length > 1 && { sharedWith: texts!.length - 1 } })
    }
    const incident = incidentOf(event, performance.now() - this.start)
    if (incident !== undefined && this.incidents.length < INCIDENTS_KEPT) this.incidents.push(incident)
  }

  readonly onGenerate = (event: GenerateEvent): void => {
    if (event.type === 'token') this.current = this.decode
    if (event.type === 'done') this.done = event
  }

  /** Undefined before the generation is done. */
  trace (model: string, peers: PeerStats[]): GenerationTrace | undefined {
    if (this.done === undefined) return undefined
    const { promptTokens, tokens, finishReason, tokensPerSecond, firstTokenMs, lap, prefillLap, layers, prefillLayers } = this.done.generation
    const id = `${this.startedAt.toISOString().replace(/\D/g, '').slice(0, 14)}-${randomBytes(3).toString('hex')}`
    return {
      format: 2, id, startedAt: this.startedAt.toISOString(), model, traceId: this.traceId, promptTokens: promptTokens.length, tokens: tokens.length, finishReason,
      tokensPerSecond, firstTokenMs, lap, prefillLap, layers: this.decode.layers(layers), prefillLayers: this.prefill.layers(prefillLayers), laps: this.decode.laps, peers, incidents: this.incidents, spans: this.spans
    }
  }
}

/** Trace ids of the texts that an event is of; undefined for what is of none or of all. */
function textsOf (event: SwarmEvent): readonly string[] | undefined {
  if ('traceId' in event) return [event.traceId, ...event.links ?? []]
  return 'traceIds' in event ? event.traceIds : undefined
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

/** Follows laps of one kind: how long each took, and whom each layer waited for. */
class LapWatch {
  private readonly lapTimes: LapTime[] = []
  private readonly slowest: Array<Record<string, number>> = []
  private lapStart = 0
  private answeredAt = NaN
  private lapAt = NaN

  add (event: LayerEvent, now: number, start: number): void {
    if (event.type === 'asked') {
      if (event.layer !== 0) return
      this.endLap()
      this.lapAt = now
      this.lapStart = start
      return
    }
    this.answeredAt = now
    const { slowestPeer } = event.timing
    const times = this.slowest[event.layer] ??= {}
    if (slowestPeer !== undefined) times[slowestPeer] = (times[slowestPeer] ?? 0) + 1
  }

  get laps (): LapTime[] {
    this.endLap()
    return this.lapTimes
  }

  layers (means: LayerTimes[]): TracedLayer[] {
    return means.map((times, layer) => ({ layer, ...times, slowest: this.slowest[layer] ?? {} }))
  }

  private endLap (): void {
    if (!Number.isNaN(this.lapAt) && this.lapTimes.length < LAPS_KEPT) this.lapTimes.push({ atMs: this.lapAt - this.lapStart, ms: this.answeredAt - this.lapAt })
    this.lapAt = NaN
  }
}
