import type { AskAnother, AuditedReply, Auditor } from '../audit/auditor.js'
import { isSwarmError } from '../errors.js'
import type { WireDtype } from '../interface.js'
import type { PartReply } from './client.js'
import type { RequestPart } from './codec.js'
import type { Answer } from './hedge.js'
import type { PeerTallies } from './peer-stats.js'
import { holdsAll, type SentPart } from './sent-part.js'
import type { Session } from './sessions.js'

/** What a delivery lends to the comparison of its replies. */
export interface CrossCheckInit {
  auditor: Auditor
  tallies: PeerTallies
  /** In [0, 1). */
  random: () => number
  signal: AbortSignal | undefined
  /** Who may be asked for a layer. */
  usable: (layer: number) => Session[]
  send: (part: RequestPart, session: Session, form?: WireDtype) => SentPart
  /** What a reply says of its peer's speed. */
  learn: (sent: SentPart, reply: PartReply) => void
}

/** Asks second peers for what a delivery has asked, and has the auditor compare the replies. */
export class CrossCheck {
  readonly #init: CrossCheckInit

  constructor (init: CrossCheckInit) {
    this.#init = init
  }

  /** Sends a request to a second peer too, if it is one of those to compare. */
  draw (sent: SentPart): void {
    if (!this.#init.auditor.draw()) return
    sent.audit = this.#replica(sent.part, new Set([sent.session.peer.peerId]), sent.dtype) ?? 'nobody'
  }

  /** Compares an answer with what was sent to others; nobody waits for it. */
  beside (first: Answer<SentPart>, sent: Array<SentPart | 'nobody'>): void {
    this.#init.auditor.beside(this.#check(first, sent))
  }

  /**
   * The reply to use for `sent`, compared; undefined where the answer may be used as it is: nothing is to be compared, or a comparison goes on beside.
   * @throws as Auditor.check does
   */
  async believed (answer: Answer<SentPart>, { audit }: SentPart): Promise<AuditedReply | undefined> {
    if (audit == null) return undefined
    if (this.#init.auditor.strict) return await this.#check(answer, [audit])
    this.beside(answer, [audit])
    return undefined
  }

  async #check (first: Answer<SentPart>, sent: Array<SentPart | 'nobody'>): Promise<AuditedReply> {
    const { auditor, tallies, signal } = this.#init
    const { part, session } = first.from
    tallies.audited(session.peer)
    return await auditor.check(part, replyOf(first), this.#others(first, sent), signal)
  }

  /** Who answers the same as `first`, one after the other: what was sent already, then further peers. */
  #others (first: Answer<SentPart>, sent: Array<SentPart | 'nobody'>): AskAnother {
    const { tallies, learn } = this.#init
    const { part, dtype, session: { peer: { peerId } } } = first.from
    const waiting = sent.filter(one => one !== 'nobody')
    const asked = new Set([peerId, ...waiting.map(({ session }) => session.peer.peerId)])
    return async () => {
      for (;;) {
        const next = waiting.shift() ?? this.#replica(part, asked, dtype)
        if (next == null) return undefined
        const { peer } = next.session
        // A hedge may have won with whom the audit asked: one peer's word twice proves nothing.
        if (peer.peerId === peerId) continue
        try {
          const reply = await next.reply
          learn(next, reply)
          tallies.audited(peer)
          return replyOf({ from: next, reply })
        } catch (error) {
          if (isSwarmError(error, 'aborted')) throw error
          if (!isSwarmError(error, 'busy')) peer.latency.addFailure()
        }
      }
    }
  }

  /** Somebody by chance who was not asked yet and holds all of a part's experts gets the same bytes: who was planned does not choose whom with. */
  #replica (part: RequestPart, asked: Set<string>, dtype: WireDtype): SentPart | undefined {
    const { auditor, usable, send, random } = this.#init
    const others = usable(part.layer).filter(other => !asked.has(other.peer.peerId) && holdsAll(other, part) && other.client.fits(part.tokens, part.experts.length))
    if (others.length === 0) return undefined
    const chosen = others[Math.floor(random() * others.length)]
    asked.add(chosen.peer.peerId)
    const sent = send(part, chosen, chosen.peer.manifest.wires.includes(dtype) ? dtype : undefined)
    auditor.counters.requests++
    sent.reply.catch(() => { /* it may fail before anybody waits for it, and then nobody need */ })
    return sent
  }
}

function replyOf ({ from, reply }: Answer<SentPart>): AuditedReply {
  return { peerId: from.session.peer.peerId, sum: reply.sum, wire: reply.dtype }
}
