import { randomBytes } from 'node:crypto'
import type { PeerStats, SwarmEvent } from '../../swarm/index.js'
import type { GenerateEvent } from '../client/generate.js'
import { GenerationProfile, type LayerTimes } from '../client/lap-profile.js'
import type { LayerEvent } from '../client/observation.js'
import type { GenerateInit } from '../swarm-client.js'
import { type GenerationTrace, type Incident, INCIDENTS_KEPT, type LapTime, LAPS_KEPT, type Span, SPANS_KEPT, type TracedLayer } from './trace.js'

export interface RecordInit {
  /** Of the prompt. */
  promptTokens: number
  /** W3C trace id of its requests. */
  traceId: string
  /** What it has waited for its turn already, in milliseconds. @default 0 */
  queuedMs?: number
}

/** Records one generation: hand it `options`, each of its events to `onGenerate`, and the client's to `onEvent`, which tells by the trace id which are of this generation. */
export class TraceRecorder {
  private readonly startedAt = new Date()
  private readonly start = performance.now()
  private readonly prefill = new LapWatch()
  private readonly decode = new LapWatch()
  private current = this.prefill
  private readonly incidents: Incident[] = []
  private readonly spans: Span[] = []
  private readonly profile = new GenerationProfile()
  private readonly onLayer = (event: LayerEvent): void => { this.current.add(event, performance.now(), this.start) }
  private tokens = 0
  private restoredTokens = 0
  private firstTokenAt: number | undefined
  private done: GenerateEvent & { type: 'done' } | undefined

  /** The generation starts now. */
  constructor (private readonly init: RecordInit) {}

  /** For `SwarmClient.generate`. */
  get options (): Required<Pick<GenerateInit, 'traceId' | 'onLayer' | 'profile'>> {
    return { traceId: this.init.traceId, onLayer: this.onLayer, profile: this.profile }
  }

  readonly onEvent = (event: SwarmEvent): void => {
    const texts = textsOf(event)
    if (texts !== undefined && !texts.includes(this.init.traceId)) return
    if (event.type === 'request-answered' && this.spans.length < SPANS_KEPT) {
      this.spans.push({ spanId: event.spanId, peerId: event.peerId, layer: event.layer, atMs: performance.now() - this.start, ms: event.tookMs, ...texts!.length > 1 && { sharedWith: texts!.length - 1 } })
    }
    const incident = incidentOf(event, performance.now() - this.start)
    if (incident !== undefined && this.incidents.length < INCIDENTS_KEPT) this.incidents.push(incident)
  }

  readonly onGenerate = (event: GenerateEvent): void => {
    if (event.type === 'token') {
      this.current = this.decode
      this.firstTokenAt ??= performance.now()
      this.tokens++
    } else if (event.type === 'restored') {
      this.tokens = event.tokens.length
      if (event.because === 'resumed') this.restoredTokens = event.tokens.length
    } else if (event.type === 'done') {
      this.done = event
    }
  }

  /** What there is to tell; undefined where not even the first layer was asked for anything. @param failure - what a generation that is not done failed with; without it, it was stopped */
  trace (model: string, peers: PeerStats[], failure?: string): GenerationTrace | undefined {
    const { promptTokens, traceId, queuedMs = 0 } = this.init
    const { prefill, decode, cachedTokens, startedAt = this.start } = this.profile
    if (this.done === undefined && !this.prefill.asked) return undefined
    const how = this.done?.generation ?? this.cutShort(failure)
    const id = `${this.startedAt.toISOString().replace(/\D/g, '').slice(0, 14)}-${randomBytes(3).toString('hex')}`
    return {
      format: 2, id, startedAt: this.startedAt.toISOString(), model, traceId,
      promptTokens, cachedTokens, tokens: this.done?.generation.tokens.length ?? this.tokens, restoredTokens: this.restoredTokens,
      finishReason: how.finishReason, failure, queuedMs: queuedMs + startedAt - this.start, tokensPerSecond: how.tokensPerSecond, firstTokenMs: how.firstTokenMs,
      lap: decode.mean(), prefillLap: prefill.mean(), prefillLaps: prefill.laps, layers: this.decode.layers(decode.layers()), prefillLayers: this.prefill.layers(prefill.layers()),
      laps: this.decode.laps, peers, incidents: this.incidents, spans: this.spans
    }
  }

  /** As far as it came. */
  private cutShort (failure: string | undefined): Pick<GenerationTrace, 'finishReason' | 'tokensPerSecond' | 'firstTokenMs'> {
    const { startedAt = this.start } = this.profile
    const first = this.firstTokenAt
    const made = this.tokens - this.restoredTokens
    return {
      finishReason: failure === undefined ? 'stopped' : 'failed',
      tokensPerSecond: first === undefined || made < 2 ? 0 : (made - 1) / (performance.now() - first) * 1000,
      firstTokenMs: first === undefined ? undefined : first - startedAt
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
  /** Whether any layer was asked for anything. */
  asked = false
  private answeredAt = NaN
  private lapAt = NaN

  add (event: LayerEvent, now: number, start: number): void {
    if (event.type === 'asked') {
      this.asked = true
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
