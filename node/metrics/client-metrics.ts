import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { AuditCounters, PeerStats, SwarmEvent } from '../../swarm/index.js'
import type { GenerateEvent } from '../client/generate.js'
import type { LapTimes } from '../client/lap-profile.js'
import type { LayerEvent } from '../client/observation.js'
import { SECONDS_BUCKETS } from './buckets.js'

/** What a client does, for Prometheus. Hand `onLayer` and `onEvent` to `SwarmClient.open`, each event of a generation to `onGenerate`. */
export class ClientMetrics {
  private readonly registry = new Registry()
  private peers: () => PeerStats[] = () => []
  private audits: () => Readonly<AuditCounters> | undefined = () => undefined
  private readonly exchange = new Histogram({ name: 'moeswarm_client_exchange_seconds', help: 'From asking for a layer\'s experts to their sum.', buckets: SECONDS_BUCKETS, registers: [this.registry] })
  private readonly exchangeParts = this.counter('moeswarm_client_exchange_part_seconds_total', 'Parts of the exchanges of layers, of the slowest peer each.', ['part'])
  private readonly tokens = this.counter('moeswarm_client_tokens_total', 'Tokens generated.')
  private readonly promptTokens = this.counter('moeswarm_client_prompt_tokens_total', 'Tokens of prompts.')
  private readonly generations = this.counter('moeswarm_client_generations_total', 'Generations that ended by themselves, by reason.', ['reason'])
  private readonly firstToken = new Histogram({ name: 'moeswarm_client_first_token_seconds', help: 'From the call to the first token.', buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120], registers: [this.registry] })
  private readonly rate = new Gauge({ name: 'moeswarm_client_tokens_per_second', help: 'Of the last generation, decoding only.', registers: [this.registry] })
  private readonly laps = this.counter('moeswarm_client_laps_total', 'Passes through all layers while decoding, of a token and its draft each.')
  private readonly lapRows = this.counter('moeswarm_client_lap_seconds_total', 'Where the time of the decoding laps went.', ['row'])
  private readonly failovers = this.counter('moeswarm_client_failed_requests_total', 'Requests that a replica had to answer, by code.', ['code'])
  private readonly hedges = this.counter('moeswarm_client_hedged_requests_total', 'Requests that were late and asked of a replica too.')
  private readonly waits = this.counter('moeswarm_client_waits_total', 'Times that nobody held the experts of a layer.')
  private readonly tainted = this.counter('moeswarm_client_tainted_answers_total', 'Answers in which uncompared replies of a peer that lied had a part, by what was done.', ['done'])

  constructor () {
    collectDefaultMetrics({ register: this.registry })
    const peers = (): PeerStats[] => this.peers()
    const perPeer = (name: string, help: string, value: (peer: PeerStats) => number): void => {
      new Gauge({
        name, help, labelNames: ['peer'] as const, registers: [this.registry],
        collect () {
          this.reset()
          for (const peer of peers()) this.set({ peer: peer.peerId }, value(peer))
        }
      })
    }
    perPeer('moeswarm_client_peer_latency_seconds', 'Smoothed round trip without queue and computing.', peer => peer.latencyMs / 1_000)
    perPeer('moeswarm_client_peer_requests', 'Requests that the peer has answered.', peer => peer.requests)
    perPeer('moeswarm_client_peer_failures', 'Requests that the peer has failed.', peer => peer.failures)
    perPeer('moeswarm_client_peer_queue_seconds', 'Mean wait for a worker of the peer.', peer => peer.queueMs / 1_000)
    perPeer('moeswarm_client_peer_service_seconds', 'Mean computing of the peer.', peer => peer.serviceMs / 1_000)
    this.countAudits()
  }

  /** From now on scrapes tell of this client's peers and of what it compared. */
  follow (client: { peers: () => PeerStats[], audits: () => Readonly<AuditCounters> | undefined }): void {
    this.peers = () => client.peers()
    this.audits = () => client.audits()
  }

  /** The client counts; a scrape reads. */
  private countAudits (): void {
    const audits = (): Readonly<AuditCounters> | undefined => this.audits()
    const registers = [this.registry]
    const read = (name: string, help: string, value: (counters: Readonly<AuditCounters>) => number): void => {
      new Counter({
        name, help, registers,
        collect () {
          this.reset()
          const counters = audits()
          if (counters !== undefined) this.inc(value(counters))
        }
      })
    }
    new Counter({
      name: 'moeswarm_client_audits_total', help: 'Requests that were compared, by whether the replies were within the tolerance; alone: nobody else could answer.', labelNames: ['result'] as const, registers,
      collect () {
        this.reset()
        const { compared = 0, disagreements = 0, alone = 0 } = audits() ?? {}
        this.inc({ result: 'equal' }, compared - disagreements)
        this.inc({ result: 'different' }, disagreements)
        this.inc({ result: 'alone' }, alone)
      }
    })
    read('moeswarm_client_audit_requests_total', 'Requests that were sent to a second peer only to be compared.', ({ requests }) => requests)
    read('moeswarm_client_audits_undecided_total', 'Different replies of which nobody could say which is right.', ({ undecided }) => undecided)
    read('moeswarm_client_lies_total', 'Replies that were proved wrong.', ({ lies }) => lies)
    read('moeswarm_client_liars_total', 'Peers that were caught lying.', ({ liars }) => liars)
    read('moeswarm_client_audit_compare_seconds_total', 'Time of the client\'s thread that comparing replies took.', ({ compareMs }) => compareMs / 1_000)
    new Gauge({
      name: 'moeswarm_client_audit_largest_passed_ratio', help: 'Largest difference between two replies that passed, over its tolerance: near 1, the tolerance is too small.', registers,
      collect () { this.set(audits()?.largestPassed ?? 0) }
    })
  }

  readonly onLayer = (event: LayerEvent): void => {
    if (event.type !== 'answered') return
    this.exchange.observe(event.ms / 1_000)
    const { networkMs, queueMs, serviceMs } = event.timing
    this.exchangeParts.inc({ part: 'network' }, networkMs / 1_000)
    this.exchangeParts.inc({ part: 'queue' }, queueMs / 1_000)
    this.exchangeParts.inc({ part: 'service' }, serviceMs / 1_000)
  }

  readonly onEvent = (event: SwarmEvent): void => {
    if (event.type === 'request-failed') this.failovers.inc({ code: event.code })
    else if (event.type === 'request-hedged') this.hedges.inc()
    else if (event.type === 'experts-waiting') this.waits.inc()
  }

  readonly onGenerate = (event: GenerateEvent): void => {
    if (event.type === 'token') this.tokens.inc()
    if (event.type === 'lied') this.tainted.inc({ done: event.again ? 'computed-again' : 'kept' })
    if (event.type !== 'done') return
    const { promptTokens, tokens, finishReason, firstTokenMs, tokensPerSecond, lap, speculation: { laps } } = event.generation
    this.promptTokens.inc(promptTokens.length)
    this.generations.inc({ reason: finishReason })
    this.firstToken.observe(firstTokenMs / 1_000)
    if (tokens.length < 2) return
    this.rate.set(tokensPerSecond)
    this.laps.inc(laps)
    for (const [row, ms] of Object.entries(lap) as Array<[keyof LapTimes, number]>) {
      if (row !== 'total') this.lapRows.inc({ row }, ms * laps / 1_000)
    }
  }

  /** The exposition text of a scrape. */
  async text (): Promise<string> { return await this.registry.metrics() }

  private counter (name: string, help: string, labelNames: string[] = []): Counter {
    return new Counter({ name, help, labelNames, registers: [this.registry] })
  }
}
