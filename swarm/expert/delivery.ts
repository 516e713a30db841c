import * as limits from '../constants.js'
import { asSwarmError, isSwarmError, SwarmError } from '../errors.js'
import type { DispatchResult } from '../interface.js'
import { planLayer } from '../selection/plan.js'
import type { PartReply } from './client.js'
import type { RequestPart } from './codec.js'
import type { SwarmDispatcherInit } from './dispatcher.js'
import type { PeerTallies } from './peer-stats.js'
import type { Session } from './sessions.js'
import { chunksOf, combine, partOf, type PartSum } from './split.js'

/** A part that is with a peer. */
interface SentPart {
  part: RequestPart
  session: Session
  reply: Promise<PartReply>
}

interface ServedPart extends PartSum {
  reply: PartReply
}

/** A peer that this delivery does not ask again: until a time, and for a broken stream only while the peer has no new one. */
interface Avoided {
  untilMs: number
  session: Session | undefined
}

/** One batch on its way through the swarm, with what went wrong for it so far. */
export class Delivery {
  readonly #init: SwarmDispatcherInit
  readonly #tallies: PeerTallies
  readonly #signal: AbortSignal | undefined
  readonly #avoided = new Map<string, Avoided>()
  /** Set when nobody could be asked for the first time, and never moved: a delivery ends. */
  #patienceEndsAt = Infinity
  #failures = 0

  constructor (init: SwarmDispatcherInit, tallies: PeerTallies, signal: AbortSignal | undefined) {
    this.#init = init
    this.#tallies = tallies
    this.#signal = signal
  }

  /** Sends before it returns. */
  deliver (whole: RequestPart): Promise<DispatchResult> {
    const placed = this.#place(whole)
    return this.#finish(whole.tokens, this.#collect(placed.sent, placed.unplaced))
  }

  async #finish (tokens: number, collecting: Promise<ServedPart[]>): Promise<DispatchResult> {
    const served = await collecting
    const combiningAt = performance.now()
    const sum = combine(served, tokens, this.#init.hiddenSize)
    const timing = { encodeMs: 0, networkMs: 0, queueMs: 0, serviceMs: 0, decodeMs: performance.now() - combiningAt }
    let slowest = -1
    for (const { reply } of served) {
      timing.encodeMs += reply.encodeMs
      timing.decodeMs += reply.decodeMs
      const queueMs = reply.queueMicros / 1_000
      const serviceMs = reply.serviceMicros / 1_000
      const total = reply.networkMs + queueMs + serviceMs
      if (total > slowest) {
        slowest = total
        timing.networkMs = reply.networkMs
        timing.queueMs = queueMs
        timing.serviceMs = serviceMs
      }
    }
    return { sum, timing }
  }

  /** Sends as much of `part` as somebody can be asked for; `unplaced` is the rest. */
  #place (part: RequestPart): { sent: SentPart[], unplaced: RequestPart | undefined } {
    const assignments = part.experts.length
    const sessions = this.#usable(part.layer)
    const plan = planLayer(part.experts, sessions.map(({ peer, client }) => ({
      peerId: peer.peerId,
      expectedMs: peer.latency.expectedMs(assignments, client.inFlight),
      // ofLayer names only peers that hold some of it.
      holds: peer.hosted.layer(part.layer) ?? new Uint8Array(this.#init.experts)
    })), this.#init.random)
    const sent: SentPart[] = []
    for (const share of plan.shares) {
      const session = sessions.find(({ peer }) => peer.peerId === share.peerId)
      if (session == null) continue
      const mine = plan.shares.length === 1 && plan.missing.length === 0 ? part : partOf(part, this.#mark(share.experts))
      for (const chunk of chunksOf(mine, (tokens, count) => session.client.fits(tokens, count))) sent.push(this.#send(chunk, session))
    }
    return { sent, unplaced: plan.missing.length === 0 ? undefined : partOf(part, this.#mark(plan.missing)) }
  }

  #send (part: RequestPart, session: Session): SentPart {
    const deadlineMs = session.peer.latency.deadlineMs(part.experts.length, session.client.inFlight)
    return { part, session, reply: session.client.request(part, { deadlineMs, signal: this.#signal }) }
  }

  async #collect (sent: SentPart[], unplaced: RequestPart | undefined): Promise<ServedPart[]> {
    const waiting = sent.map(async one => await this.#await(one))
    if (unplaced != null) waiting.push(this.#waitForExperts(unplaced))
    if (waiting.length === 1) return await waiting[0]
    return (await Promise.all(waiting)).flat()
  }

  async #await ({ part, session, reply }: SentPart): Promise<ServedPart[]> {
    const { peerId, latency } = session.peer
    let served: PartReply
    try {
      served = await reply
    } catch (error) {
      this.#failed(part, session, asSwarmError(error) ?? new SwarmError('compute-failed', 'A request failed.', {}, { cause: error }))
      const placed = this.#place(part)
      return await this.#collect(placed.sent, placed.unplaced)
    }
    latency.addServed({
      networkMs: served.networkMs,
      queueMs: served.queueMicros / 1_000,
      serviceMs: served.serviceMicros / 1_000,
      assignments: part.experts.length
    })
    this.#tallies.served(peerId, latency, part, served)
    return [{ part, sum: served.sum, reply: served }]
  }

  /** Throws when the caller cancelled. */
  #failed (part: RequestPart, session: Session, error: SwarmError): void {
    if (error.code === 'aborted') throw error
    const { peerId, latency } = session.peer
    this.#failures++
    const now = performance.now()
    if (isSwarmError(error, 'busy')) {
      this.#avoided.set(peerId, { untilMs: now + error.data.retryAfterMs, session: undefined })
    } else {
      latency.addFailure()
      this.#tallies.failed(peerId, latency)
      this.#avoided.set(peerId, this.#avoidance(error, session, now))
    }
    this.#init.onEvent({ type: 'request-failed', peerId, layer: part.layer, code: error.code })
  }

  #avoidance (error: SwarmError, session: Session, now: number): Avoided {
    if (error.code === 'peer-gone') return { untilMs: Infinity, session }
    // Slow is better than nobody, but not at once.
    if (error.code === 'timeout') return { untilMs: now + limits.BUSY_RETRY_MS * 2 ** Math.min(this.#failures, 6), session: undefined }
    return { untilMs: Infinity, session: undefined }
  }

  #usable (layer: number): Session[] {
    const sessions = this.#init.sessions.ofLayer(layer)
    if (this.#avoided.size === 0) return sessions
    const now = performance.now()
    return sessions.filter(({ peer, client }) => {
      const avoided = this.#avoided.get(peer.peerId)
      return avoided == null || now >= avoided.untilMs || (avoided.session != null && avoided.session.client !== client)
    })
  }

  /** Looks for new peers once and waits for them, for peers that come back, and for busy ones. */
  async #waitForExperts (part: RequestPart): Promise<ServedPart[]> {
    const { directory, sessions, patienceMs, onEvent } = this.#init
    if (this.#patienceEndsAt === Infinity) {
      this.#patienceEndsAt = performance.now() + patienceMs
      onEvent({ type: 'experts-waiting', layer: part.layer, experts: expertsOf(part) })
      void directory.refresh(part.layer)
    }
    for (;;) {
      const leftMs = this.#patienceEndsAt - performance.now()
      if (leftMs <= 0) {
        const experts = expertsOf(part)
        throw new SwarmError('experts-unavailable',
          `No live peer holds ${nameExperts(experts)} of layer ${part.layer}: start a peer that hosts them, or run the layer locally.`,
          { layer: part.layer, experts })
      }
      await sessions.changeWithin(Math.min(leftMs, this.#nextRetryMs()), this.#signal)
      const placed = this.#place(part)
      if (placed.sent.length > 0) return await this.#collect(placed.sent, placed.unplaced)
    }
  }

  /** Milliseconds until an avoided peer may be asked again. */
  #nextRetryMs (): number {
    const now = performance.now()
    let nextMs = limits.PATIENCE_POLL_MS
    for (const { untilMs } of this.#avoided.values()) {
      if (untilMs > now) nextMs = Math.min(nextMs, untilMs - now)
    }
    return Math.max(1, nextMs)
  }

  #mark (experts: readonly number[]): Uint8Array {
    const mine = new Uint8Array(this.#init.experts)
    for (const expert of experts) mine[expert] = 1
    return mine
  }
}

function expertsOf (part: RequestPart): number[] {
  return [...new Set(part.experts)].sort((a, b) => a - b)
}

function nameExperts (experts: number[]): string {
  return experts.length === 1 ? `expert ${experts[0]}` : `experts ${experts.join(', ')}`
}
