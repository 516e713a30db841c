import * as limits from '../constants.js'
import { asSwarmError, isSwarmError, SwarmError } from '../errors.js'
import type { DispatchTiming, DispatchResult, WireDtype } from '../interface.js'
import type { RequestSize } from '../selection/latency.js'
import { planLayer } from '../selection/plan.js'
import { baseWire, wireOf } from '../selection/wire.js'
import type { PartReply } from './client.js'
import { replyBytes, requestBytes, type RequestPart } from './codec.js'
import { CrossCheck } from './cross-check.js'
import type { DispatchState, SwarmDispatcherInit } from './dispatcher.js'
import { firstAnswer } from './hedge.js'
import { holdsAll, type SentPart } from './sent-part.js'
import type { Session } from './sessions.js'
import { chunksOf, combine, partOf, type PartSum } from './split.js'

interface ServedPart extends PartSum {
  /** Absent: computed here. */
  from?: { reply: PartReply, peerId: string, checked: boolean }
}

/** A peer that this delivery does not ask again: until a time, and for a broken stream only while the peer has no new one. */
interface Avoided {
  untilMs: number
  session: Session | undefined
}

/** One batch on its way through the swarm, with what went wrong for it so far. */
export class Delivery {
  readonly #init: SwarmDispatcherInit
  readonly #state: DispatchState
  readonly #traceIds: readonly string[]
  readonly #signal: AbortSignal | undefined
  /** Undefined where nothing is compared. */
  readonly #crossCheck: CrossCheck | undefined
  readonly #avoided = new Map<string, Avoided>()
  /** Set when nobody could be asked for the first time, and never moved: a delivery ends. */
  #patienceEndsAt = Infinity
  /** When a copy on this machine is looked for, set together with that. */
  #copyAt = Infinity
  #failures = 0

  constructor (init: SwarmDispatcherInit, state: DispatchState, traceIds: readonly string[] = [], signal?: AbortSignal) {
    this.#init = init
    this.#state = state
    this.#traceIds = traceIds
    this.#signal = signal
    this.#crossCheck = init.auditor && new CrossCheck({
      auditor: init.auditor,
      tallies: state.tallies,
      random: init.random,
      signal,
      usable: layer => this.#usable(layer),
      send: (part, session, form) => this.#send(part, session, form),
      learn: (sent, reply) => { this.#learn(sent, reply) }
    })
  }

  /** Sends before it returns. `tokens` are those of the result, where some ask for no expert. */
  deliver (whole: RequestPart, tokens = whole.tokens): Promise<DispatchResult> {
    const placed = this.#place(whole)
    return this.#finish(tokens, this.#collect(placed.sent, placed.unplaced))
  }

  async #finish (tokens: number, collecting: Promise<ServedPart[]>): Promise<DispatchResult> {
    const served = await collecting
    const combiningAt = performance.now()
    const sum = combine(served, tokens, this.#init.hiddenSize)
    const timing: DispatchTiming = { encodeMs: 0, networkMs: 0, queueMs: 0, serviceMs: 0, decodeMs: 0, combineMs: performance.now() - combiningAt }
    let slowest = -1
    const unchecked = new Set<string>()
    for (const { from } of served) {
      if (from == null) continue
      const { reply, peerId } = from
      if (!from.checked) unchecked.add(peerId)
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
        timing.slowestPeer = peerId
      }
    }
    return { sum, timing, unchecked: [...unchecked] }
  }

  /** What events of a traced delivery have beside the rest. */
  get #named (): { traceIds?: readonly string[] } {
    return this.#traceIds.length === 0 ? {} : { traceIds: this.#traceIds }
  }

  /** Sends as much of `part` as somebody can be asked for; `unplaced` is the rest. */
  #place (part: RequestPart): { sent: SentPart[], unplaced: RequestPart | undefined } {
    const { incumbents, plans } = this.#state
    const sessions = this.#usable(part.layer)
    const plan = planLayer(part.experts, sessions.map(session => {
      const { peer: { peerId, hosted, latency } } = session
      const expectedMs = latency.expectedMs(this.#sizeFor(part, session))
      // ofLayer names only peers that hold some of it.
      return { peerId, expectedMs, rankMs: incumbents.rankMs(part.layer, peerId, expectedMs), holds: hosted.layer(part.layer) ?? new Uint8Array(this.#init.experts) }
    }), this.#init.random)
    plans.set(part.layer, plan.reasons)
    if (plan.shares.length > 0) incumbents.served(part.layer, plan.shares.map(({ peerId }) => peerId))
    const sent: SentPart[] = []
    for (const share of plan.shares) {
      const session = sessions.find(({ peer }) => peer.peerId === share.peerId)
      if (session == null) continue
      const mine = plan.shares.length === 1 && plan.missing.length === 0 ? part : partOf(part, this.#mark(share.experts))
      for (const chunk of chunksOf(mine, (tokens, count) => session.client.fits(tokens, count))) {
        this.#state.budget.earn()
        sent.push(this.#send(chunk, session))
      }
    }
    for (const one of sent) this.#crossCheck?.draw(one)
    if (sent.length > 0) this.#shadow(sent[0], sessions)
    if (plan.missing.length > 0) return { sent, unplaced: partOf(part, this.#mark(plan.missing)) }
    this.#state.orphans.delete(part.layer)
    return { sent, unplaced: undefined }
  }

  /** In the form on the wire that suits the link, or in `form`. */
  #send (part: RequestPart, session: Session, form?: WireDtype): SentPart {
    const { peer: { latency, manifest }, client } = session
    const size = this.#sizeFor(part, session)
    const dtype = form ?? wireOf(this.#init.wire, manifest.wires, latency, size, form => this.#bytesOf(part, form))
    size.bytes = this.#bytesOf(part, dtype)
    const sentAtMs = performance.now()
    return { part, session, size, sentAtMs, dtype, ...client.ask(part, { deadlineMs: latency.deadlineMs(size), signal: this.#signal, dtype, traceIds: this.#traceIds }) }
  }

  #sizeFor (part: RequestPart, { client }: Session): RequestSize {
    return { assignments: part.experts.length, ahead: client.inFlight, bytes: this.#bytesOf(part, baseWire(this.#init.wire)) }
  }

  /** Of request and reply. */
  #bytesOf ({ tokens, experts }: RequestPart, dtype: WireDtype): number {
    const { hiddenSize } = this.#init
    return requestBytes(dtype, tokens, experts.length, hiddenSize) + replyBytes(dtype, tokens, hiddenSize)
  }

  /** Somebody else who holds all of a part's experts gets the same bytes; undefined when there is nobody, or the budget is spent. */
  #twin ({ part, session }: SentPart): SentPart | undefined {
    const { budget, tallies } = this.#state
    let best: Session | undefined
    let bestMs = Infinity
    for (const other of this.#usable(part.layer)) {
      if (other.peer.peerId === session.peer.peerId || !holdsAll(other, part) || !other.client.fits(part.tokens, part.experts.length)) continue
      const expectedMs = other.peer.latency.expectedMs(this.#sizeFor(part, other))
      if (expectedMs < bestMs) [best, bestMs] = [other, expectedMs]
    }
    if (best == null || !budget.spend()) return undefined
    tallies.hedged(session.peer, best.peer)
    this.#init.onEvent({ type: 'request-hedged', peerId: session.peer.peerId, toPeerId: best.peer.peerId, layer: part.layer, ...this.#named })
    return this.#send(part, best)
  }

  /** A peer that plans have passed over for long computes the same once more: nobody waits for it, and it may have become faster. */
  #shadow (first: SentPart, sessions: Session[]): void {
    const { part, session } = first
    if (part.experts.length > limits.SHADOW_MAX_ASSIGNMENTS) return
    const stale = sessions.find(other => other.peer.peerId !== session.peer.peerId && other.peer.latency.ageMs > this.#init.shadowIntervalMs && holdsAll(other, part))
    if (stale == null || !this.#state.budget.spend(limits.SHADOW_RESERVE)) return
    const { latency } = stale.peer
    latency.asked()
    const shadow = this.#send(part, stale)
    void Promise.allSettled([first.reply, shadow.reply]).then(([own, other]) => {
      if (other.status === 'rejected') return latency.addLate(performance.now() - shadow.sentAtMs, shadow.size)
      this.#learn(shadow, other.value)
      if (own.status === 'fulfilled') this.#crossCheck?.beside({ from: first, reply: own.value }, [shadow])
    })
  }

  async #collect (sent: SentPart[], unplaced: RequestPart | undefined): Promise<ServedPart[]> {
    const waiting = sent.map(async one => await this.#await(one))
    if (unplaced != null) waiting.push(this.#waitForExperts(unplaced))
    if (waiting.length === 1) return await waiting[0]
    return (await Promise.all(waiting)).flat()
  }

  async #await (sent: SentPart): Promise<ServedPart[]> {
    const crossCheck = this.#crossCheck
    const answer = await firstAnswer({
      first: sent,
      tailMs: sent.session.peer.latency.tailMs(sent.size),
      twin: () => this.#twin(sent),
      onFailed: ({ part, session }, error) => {
        this.#failed(part, session, asSwarmError(error) ?? new SwarmError('compute-failed', 'A request failed.', {}, { cause: error }))
      },
      onLoser: ({ session, size, sentAtMs }) => { session.peer.latency.addLate(performance.now() - sentAtMs, size) },
      onBoth: crossCheck && ((winner, loser) => { crossCheck.beside(winner, [loser.from]) })
    })
    if (answer == null) {
      const placed = this.#place(sent.part)
      return await this.#collect(placed.sent, placed.unplaced)
    }
    const { from, reply } = answer
    this.#learn(from, reply)
    this.#state.tallies.served(from.session.peer, from.part, reply, from !== sent)
    const served = { part: from.part, sum: reply.sum, from: { reply, peerId: from.session.peer.peerId, checked: false } }
    const believed = await crossCheck?.believed(answer, sent)
    return [believed == null ? served : { ...served, sum: believed.sum, from: { ...served.from, checked: true } }]
  }

  #learn ({ session, part, size }: SentPart, { networkMs, queueMicros, serviceMicros }: PartReply): void {
    session.peer.latency.addServed({ networkMs, queueMs: queueMicros / 1_000, serviceMs: serviceMicros / 1_000, assignments: part.experts.length, bytes: size.bytes })
  }

  /** Throws when the caller cancelled. */
  #failed (part: RequestPart, session: Session, error: SwarmError): void {
    if (error.code === 'aborted') throw error
    const { peer, peer: { peerId, latency } } = session
    this.#failures++
    const now = performance.now()
    if (isSwarmError(error, 'busy')) {
      this.#avoided.set(peerId, { untilMs: now + error.data.retryAfterMs, session: undefined })
    } else {
      latency.addFailure()
      this.#state.tallies.failed(peer)
      this.#avoided.set(peerId, this.#avoidance(error, session, now))
    }
    this.#init.onEvent({ type: 'request-failed', peerId, layer: part.layer, code: error.code, ...this.#named })
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

  /** Looks for new peers once and waits for them, for peers that come back, and for busy ones; soon it computes the part here, if this machine can. */
  async #waitForExperts (part: RequestPart): Promise<ServedPart[]> {
    const { directory, sessions, patienceMs, onEvent } = this.#init
    if (this.#state.orphans.has(part.layer)) {
      const sum = await this.#init.localCopy?.(part, this.#signal)
      if (sum != null) return [{ part, sum }]
    }
    if (this.#patienceEndsAt === Infinity) {
      this.#patienceEndsAt = performance.now() + patienceMs
      this.#copyAt = performance.now() + Math.min(patienceMs, limits.COPY_AFTER_MS)
      onEvent({ type: 'experts-waiting', layer: part.layer, experts: expertsOf(part), ...this.#named })
      void directory.refresh(part.layer)
    }
    let copyAt = this.#copyAt
    for (;;) {
      const now = performance.now()
      if (now >= copyAt) {
        const sum = await this.#init.localCopy?.(part, this.#signal)
        if (sum != null) {
          this.#state.orphans.add(part.layer)
          onEvent({ type: 'experts-local', layer: part.layer, experts: expertsOf(part) })
          return [{ part, sum }]
        }
        copyAt = Infinity
      }
      if (now >= this.#patienceEndsAt) {
        const experts = expertsOf(part)
        throw new SwarmError('experts-unavailable',
          `No live peer holds ${nameExperts(experts)} of layer ${part.layer}: start a peer that hosts them, or run the layer locally.`,
          { layer: part.layer, experts })
      }
      await sessions.changeWithin(Math.min(this.#patienceEndsAt - now, Math.max(0, copyAt - now), this.#nextRetryMs()), this.#signal)
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
