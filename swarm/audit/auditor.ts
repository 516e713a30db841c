import * as limits from '../constants.js'
import { SwarmError } from '../errors.js'
import type { OnSwarmEvent } from '../events.js'
import type { RequestPart } from '../expert/codec.js'
import type { WireDtype } from '../interface.js'
import { deviation, type Tolerances, toleranceOf } from './deviation.js'
import { AuditDraw } from './draw.js'
import { type Proof, replyDigest, requestDigest, THIS_MACHINE } from './proof.js'

/** A peer's answer to a request. */
export interface AuditedReply {
  peerId: string
  /** [part's tokens, hidden size] */
  sum: Float32Array
  wire: WireDtype
}

export interface AuditOptions {
  /** Of the requests, how many are answered by two peers and compared, in [0, 1]. With 1 no reply is used before it was compared. 0 compares nothing. */
  share: number
  /** Equal seeds choose the same requests. @default by chance, as unpredictable as a key */
  seed?: string
  /** How far honest replies may be apart, by the coarser of their forms on the wire. */
  tolerances: Tolerances
  /** Computes a part here, where this machine can: that is the truth. Undefined where it cannot. */
  localCopy?: (part: RequestPart, signal?: AbortSignal) => Promise<Float32Array | undefined>
}

export interface AuditorInit extends AuditOptions {
  modelId: string
  hiddenSize: number
  /** A peer was caught: it is asked nothing from here on. */
  onLiar: (proof: Proof) => void
  onEvent: OnSwarmEvent
}

/** Since the start. */
export interface AuditCounters {
  /** Requests that were sent only to be compared: what audits cost the swarm. Hedges and probes, which are compared too, are not among them. */
  requests: number
  /** Requests of which two replies or more were compared. */
  compared: number
  /** Requests that were to be compared, and of which nobody else could answer a second time. */
  alone: number
  /** Comparisons beyond the tolerance. */
  disagreements: number
  /** Of these, the ones that neither a third peer nor this machine could decide. */
  undecided: number
  /** Replies that were proved wrong, and peers that gave them. */
  lies: number
  liars: number
  /** Largest deviation that passed, as a share of its tolerance: near 1, the tolerance is too small for this swarm. */
  largestPassed: number
  /** Time of this thread that comparing has taken, in milliseconds. */
  compareMs: number
}

/** Asks somebody else the same thing; undefined when there is nobody any more. */
export type AskAnother = () => Promise<AuditedReply | undefined>

/**
 * Compares replies to the same request. Two that agree within the tolerance are believed. Of two that do not, a copy on this machine says which is wrong; where
 * there is none, further peers are asked until two agree. So two liars that answer alike can accuse an honest third, unless this machine has a copy.
 */
export class Auditor {
  readonly #init: AuditorInit
  readonly #draw: AuditDraw
  readonly #liars = new Set<string>()
  readonly #open = new Set<Promise<unknown>>()
  readonly counters: AuditCounters = { requests: 0, compared: 0, alone: 0, disagreements: 0, undecided: 0, lies: 0, liars: 0, largestPassed: 0, compareMs: 0 }

  constructor (init: AuditorInit) {
    this.#init = init
    this.#draw = new AuditDraw(init.share, init.seed)
  }

  /** Whether no reply may be used before it was compared. */
  get strict (): boolean { return this.#init.share >= 1 }

  /** Peers that were caught. */
  get liars (): ReadonlySet<string> { return this.#liars }

  /** Whether the next request is one to compare. */
  draw (): boolean { return this.#draw.next() }

  /** Runs a comparison that nobody waits for; `settled` does. */
  beside (comparing: Promise<unknown>): void {
    const open = comparing.catch(() => undefined).finally(() => { this.#open.delete(open) })
    this.#open.add(open)
  }

  /** Resolves when every comparison under way has ended. */
  async settled (): Promise<void> {
    while (this.#open.size > 0) await Promise.all(this.#open)
  }

  /**
   * Returns the reply to believe. Where nobody else can answer that is `first`, uncompared, and also where nobody can decide.
   * @throws SwarmError 'replies-disagree' when nobody can decide and no reply may be used uncompared
   */
  async check (part: RequestPart, first: AuditedReply, another: AskAnother, signal?: AbortSignal): Promise<AuditedReply> {
    const second = await another()
    const replies = second === undefined ? [first] : [first, second]
    if (second === undefined) {
      const truth = this.strict ? await this.#truth(part, signal) : undefined
      if (truth === undefined) {
        this.counters.alone++
        return first
      }
      this.counters.compared++
      if (!this.#agree(first, truth)) this.counters.disagreements++
      return this.#against(truth, part, replies)
    }
    this.counters.compared++
    if (this.#agree(first, second)) return first
    this.counters.disagreements++
    this.#init.onEvent({ type: 'replies-disagree', layer: part.layer, peerIds: replies.map(({ peerId }) => peerId), deviation: this.#deviation(first, second), tolerance: this.#tolerance(first, second) })
    const truth = await this.#truth(part, signal)
    if (truth !== undefined) return this.#against(truth, part, replies)
    return await this.#majority(part, replies, another)
  }

  async #truth (part: RequestPart, signal?: AbortSignal): Promise<AuditedReply | undefined> {
    const sum = await this.#init.localCopy?.(part, signal)
    return sum && { peerId: THIS_MACHINE, sum, wire: 'fp32' }
  }

  #against (truth: AuditedReply, part: RequestPart, replies: AuditedReply[]): AuditedReply {
    const wrong = replies.filter(reply => !this.#agree(reply, truth))
    for (const reply of wrong) this.#caught(part, reply, [truth])
    return replies.find(reply => !wrong.includes(reply)) ?? truth
  }

  async #majority (part: RequestPart, replies: AuditedReply[], another: AskAnother): Promise<AuditedReply> {
    while (replies.length < limits.AUDIT_MAX_REPLIES) {
      const next = await another()
      if (next === undefined) break
      const pair = replies.find(reply => this.#agree(reply, next))
      replies.push(next)
      if (pair === undefined) continue
      for (const reply of replies) if (!this.#agree(reply, pair) && !this.#agree(reply, next)) this.#caught(part, reply, [pair, next])
      return pair
    }
    this.counters.undecided++
    if (!this.strict) return replies[0]
    throw new SwarmError('replies-disagree',
      `The peers ${replies.map(({ peerId }) => peerId).join(' and ')} answer differently for layer ${part.layer}, and nobody can tell who is right: start a third peer with this layer, or keep a copy of it here (moeswarm fetch --part experts).`,
      { layer: part.layer, peerIds: replies.map(({ peerId }) => peerId) })
  }

  #agree (a: AuditedReply, b: AuditedReply): boolean {
    const startedAt = performance.now()
    const share = this.#deviation(a, b) / this.#tolerance(a, b)
    this.counters.compareMs += performance.now() - startedAt
    if (!(share <= 1)) return false
    this.counters.largestPassed = Math.max(this.counters.largestPassed, share)
    return true
  }

  #deviation (a: AuditedReply, b: AuditedReply): number { return deviation(a.sum, b.sum, this.#init.hiddenSize) }

  #tolerance (a: AuditedReply, b: AuditedReply): number { return toleranceOf(this.#init.tolerances, a.wire, b.wire) }

  #caught (part: RequestPart, reply: AuditedReply, against: AuditedReply[]): void {
    this.counters.lies++
    if (this.#liars.has(reply.peerId)) return
    this.#liars.add(reply.peerId)
    this.counters.liars++
    const { modelId, hiddenSize, onLiar, onEvent } = this.#init
    const proof: Proof = {
      peerId: reply.peerId,
      at: new Date().toISOString(),
      modelId,
      layer: part.layer,
      experts: [...new Set(part.experts)].sort((a, b) => a - b),
      tokens: part.tokens,
      wire: reply.wire,
      requestSha256: requestDigest(part, reply.wire, hiddenSize),
      replySha256: replyDigest(reply.sum),
      against: against.map(({ peerId, sum }) => ({ peerId, replySha256: replyDigest(sum) })),
      deviation: Math.max(...against.map(other => this.#deviation(reply, other))),
      tolerance: this.#tolerance(reply, against[0])
    }
    onLiar(proof)
    onEvent({ type: 'peer-lied', peerId: proof.peerId, layer: proof.layer, deviation: proof.deviation, tolerance: proof.tolerance })
  }
}
