import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import * as constants from '../constants.js'
import type { OnSwarmEvent } from '../events.js'
import type { ExpertCompute, HostedBlock, WireDtype } from '../interface.js'
import { DEFAULT_PEER_LIMITS, type PeerLimits } from '../limits.js'
import { TokenBuckets, type Bucket } from '../token-buckets.js'
import { HostedExperts } from './hosted.js'
import { ServedStream } from './served-stream.js'

export interface ExpertServiceInit {
  libp2p: Pick<Libp2p, 'handle' | 'unhandle'>
  /** 64 hex digits. */
  modelId: string
  hiddenSize: number
  experts: number
  layers: number
  blocks: HostedBlock[]
  wires: readonly WireDtype[]
  compute: ExpertCompute
  /** @default DEFAULT_PEER_LIMITS */
  limits?: Readonly<PeerLimits>
  onEvent: OnSwarmEvent
}

/** What all streams of a peer share: the model, and what may be in memory at a time. */
export interface ServiceState {
  readonly init: ExpertServiceInit
  readonly limits: Readonly<PeerLimits>
  readonly rate: TokenBuckets
  /** Of refusals for the rate: who does not heed them is cut. */
  readonly patience: TokenBuckets
  hosted: HostedExperts
  readonly counters: ServiceCounters
  draining: boolean
  requestsInFlight: number
  bytesInFlight: number
  /** Called when a request has ended. */
  onIdle: () => void
}

/** What the streams of one client take together. */
export interface ClientUse {
  streams: number
  requests: number
  bytes: number
  /** Of the last request, on the clock of performance.now. */
  servedAtMs: number
  readonly rate: Bucket
  readonly patience: Bucket
}

export interface ServiceCounters {
  requests: number
  tokens: number
  /** Of requests, and of the answers to them. */
  receivedBytes: number
  sentBytes: number
  /** Answered busy. */
  refused: number
  /** Failed otherwise, or malformed. */
  failed: number
  /** Of the refused, those that came too fast. */
  rateLimited: number
  /** Streams that were cut, by cause: they said nothing, or kept a frame incomplete, or did not read, or sent much too fast, or broke the protocol. */
  silent: number
  slowWriters: number
  slowReaders: number
  tooFast: number
  malformed: number
}

/** What is taken at the moment. */
export interface ServiceLoad {
  streams: number
  requests: number
  bytes: number
  /** Of frames that are not complete. */
  partialBytes: number
  /** Of replies that wait for their reader. */
  backlogBytes: number
}

/** Between two looks for clients that are too slow. */
const SWEEP_MS = 250

/** The peer's side of the expert protocol: admits, computes, answers. Knows nothing of how compute works. */
export class ExpertService {
  readonly #state: ServiceState
  readonly #streams = new Set<ServedStream>()
  readonly #clients = new Map<string, ClientUse>()
  #sweeper: NodeJS.Timeout | undefined

  constructor (init: ExpertServiceInit) {
    const limits = init.limits ?? DEFAULT_PEER_LIMITS
    const { requestsPerSecondPerPeer: perSecond, requestsPerSecond: totalPerSecond } = limits
    this.#state = {
      init,
      limits,
      rate: new TokenBuckets({ perSecond, totalPerSecond, burstSeconds: 1 }),
      patience: new TokenBuckets({ perSecond, totalPerSecond: Infinity, burstSeconds: 1 }),
      hosted: new HostedExperts(init.blocks, init.experts),
      counters: { requests: 0, tokens: 0, receivedBytes: 0, sentBytes: 0, refused: 0, failed: 0, rateLimited: 0, silent: 0, slowWriters: 0, slowReaders: 0, tooFast: 0, malformed: 0 },
      draining: false,
      requestsInFlight: 0,
      bytesInFlight: 0,
      onIdle: () => {}
    }
  }

  get counters (): Readonly<ServiceCounters> {
    return this.#state.counters
  }

  get load (): ServiceLoad {
    const { requestsInFlight: requests, bytesInFlight: bytes } = this.#state
    let [partialBytes, backlogBytes] = [0, 0]
    for (const stream of this.#streams) {
      partialBytes += stream.partialBytes
      backlogBytes += stream.backlogBytes
    }
    return { streams: this.#streams.size, requests, bytes, partialBytes, backlogBytes }
  }

  /** When this client last asked for something, on the clock of performance.now. */
  lastServedMs (peerId: string): number {
    return this.#clients.get(peerId)?.servedAtMs ?? -Infinity
  }

  /** From now on serves these instead. Requests in flight go on. */
  setBlocks (blocks: HostedBlock[]): void {
    this.#state.hosted = new HostedExperts(blocks, this.#state.init.experts)
  }

  async start (): Promise<void> {
    await this.#state.init.libp2p.handle(constants.EXPERTS_PROTOCOL, (stream, connection) => { this.#accept(stream, connection) }, {
      maxInboundStreams: this.#state.limits.maxExpertStreamsPerConnection
    })
    this.#sweeper = setInterval(() => { this.#sweep() }, SWEEP_MS).unref()
  }

  /** Refuses new requests with 'busy', waits for those in flight, at most DRAIN_TIMEOUT_MS, and closes all streams. */
  async stop (): Promise<void> {
    this.#state.draining = true
    await this.#state.init.libp2p.unhandle(constants.EXPERTS_PROTOCOL)
    await this.#idle()
    const closing = AbortSignal.timeout(constants.HANDSHAKE_TIMEOUT_MS)
    await Promise.all([...this.#streams].map(async stream => { await stream.close(closing) }))
    clearInterval(this.#sweeper)
  }

  #accept (stream: Stream, connection: Connection): void {
    const peerId = connection.remotePeer.toString()
    const use = this.#useOf(peerId)
    use.streams++
    const served = new ServedStream(this.#state, use, stream, peerId, () => {
      this.#streams.delete(served)
      if (--use.streams === 0) this.#clients.delete(peerId)
    })
    this.#streams.add(served)
  }

  #useOf (peerId: string): ClientUse {
    let use = this.#clients.get(peerId)
    if (use == null) {
      const now = performance.now()
      use = { streams: 0, requests: 0, bytes: 0, servedAtMs: -Infinity, rate: this.#state.rate.bucket(peerId, now), patience: this.#state.patience.bucket(peerId, now) }
      this.#clients.set(peerId, use)
    }
    return use
  }

  /** Cuts who is too slow, and, while all together hold too much, who holds most of it. */
  #sweep (): void {
    const { maxPartialFrameBytes, maxBacklogBytes } = this.#state.limits
    const now = performance.now()
    for (const stream of this.#streams) stream.checkSpeed(now)
    const { partialBytes, backlogBytes } = this.load
    if (partialBytes > maxPartialFrameBytes) largest(this.#streams, stream => stream.partialBytes).cutSlowWriter()
    if (backlogBytes > maxBacklogBytes) largest(this.#streams, stream => stream.backlogBytes).cutSlowReader()
  }

  async #idle (): Promise<void> {
    if (this.#state.requestsInFlight === 0) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, constants.DRAIN_TIMEOUT_MS)
      this.#state.onIdle = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

/** There is at least one. */
function largest<T> (items: Iterable<T>, size: (item: T) => number): T {
  return [...items].reduce((most, item) => size(item) > size(most) ? item : most)
}
