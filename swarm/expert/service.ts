import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import * as limits from '../constants.js'
import type { OnSwarmEvent } from '../events.js'
import type { ExpertCompute, HostedBlock, WireDtype } from '../interface.js'
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
  onEvent: OnSwarmEvent
}

/** What all streams of a peer share: the model, and what may be in memory at a time. */
export interface ServiceState {
  readonly init: ExpertServiceInit
  hosted: HostedExperts
  readonly counters: ServiceCounters
  draining: boolean
  requestsInFlight: number
  bytesInFlight: number
  /** Called when a request has ended. */
  onIdle: () => void
}

export interface ServiceCounters {
  requests: number
  tokens: number
  /** Answered busy. */
  refused: number
  /** Failed otherwise, or malformed. */
  failed: number
}

/** The peer's side of the expert protocol: admits, computes, answers. Knows nothing of how compute works. */
export class ExpertService {
  readonly #state: ServiceState
  readonly #streams = new Set<ServedStream>()

  constructor (init: ExpertServiceInit) {
    this.#state = {
      init,
      hosted: new HostedExperts(init.blocks, init.experts),
      counters: { requests: 0, tokens: 0, refused: 0, failed: 0 },
      draining: false,
      requestsInFlight: 0,
      bytesInFlight: 0,
      onIdle: () => {}
    }
  }

  get counters (): Readonly<ServiceCounters> {
    return this.#state.counters
  }

  /** From now on serves these instead. Requests in flight go on. */
  setBlocks (blocks: HostedBlock[]): void {
    this.#state.hosted = new HostedExperts(blocks, this.#state.init.experts)
  }

  async start (): Promise<void> {
    await this.#state.init.libp2p.handle(limits.EXPERTS_PROTOCOL, (stream, connection) => { this.#accept(stream, connection) }, {
      maxInboundStreams: limits.MAX_STREAMS_PER_CONNECTION
    })
  }

  /** Refuses new requests with 'busy', waits for those in flight, at most DRAIN_TIMEOUT_MS, and closes all streams. */
  async stop (): Promise<void> {
    this.#state.draining = true
    await this.#state.init.libp2p.unhandle(limits.EXPERTS_PROTOCOL)
    await this.#idle()
    const closing = AbortSignal.timeout(limits.HANDSHAKE_TIMEOUT_MS)
    await Promise.all([...this.#streams].map(async stream => { await stream.close(closing) }))
  }

  #accept (stream: Stream, connection: Connection): void {
    const served = new ServedStream(this.#state, stream, connection.remotePeer.toString(), () => { this.#streams.delete(served) })
    this.#streams.add(served)
  }

  async #idle (): Promise<void> {
    if (this.#state.requestsInFlight === 0) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, limits.DRAIN_TIMEOUT_MS)
      this.#state.onIdle = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
