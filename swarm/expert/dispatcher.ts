import type { PeerDirectory } from '../directory/directory.js'
import { SwarmError } from '../errors.js'
import type { OnSwarmEvent } from '../events.js'
import type { Auditor, AuditCounters, AuditOptions } from '../audit/auditor.js'
import type { DispatchResult, ExpertBatch, ExpertDispatcher, WireChoice } from '../interface.js'
import { HEDGE_BURST, SAME_MACHINE_RTT_MS } from '../constants.js'
import { HedgeBudget } from '../selection/hedge-budget.js'
import { Incumbents } from '../selection/incumbents.js'
import type { LayerPlan } from '../selection/plan.js'
import { namesTwice } from './codec.js'
import { Delivery } from './delivery.js'
import { PeerTallies, type PeerStats } from './peer-stats.js'
import { allFinite } from './rows.js'
import type { ExpertSessions } from './sessions.js'
import { wholePart } from './split.js'

export interface SwarmDispatcherInit {
  directory: Pick<PeerDirectory, 'refresh'>
  sessions: ExpertSessions
  hiddenSize: number
  /** Experts a layer of the model has. */
  experts: number
  wire: WireChoice
  /** Extra requests (hedges, probes) as a share of all; 0 for none. */
  hedgeShare: number
  /** A peer that plans pass over is asked something for comparison this often. */
  shadowIntervalMs: number
  /** Compares two peers' replies to the same request. Given: a hedge's later reply is waited for instead of cancelled. */
  auditor?: Auditor
  /** Computes what nobody live holds, see AuditOptions. */
  localCopy?: AuditOptions['localCopy']
  patienceMs: number
  /** In [0, 1): spreads clients over equal peers. */
  random: () => number
  onEvent: OnSwarmEvent
}

/** What outlives a delivery. */
export interface DispatchState {
  tallies: PeerTallies
  incumbents: Incumbents
  budget: HedgeBudget
  /** By layer: who was weighed for its last request, and what came of it. */
  plans: Map<number, LayerPlan['reasons']>
  /** Layers of which something is computed here because patience was in vain: it is not waited for again until the swarm has all of it. */
  orphans: Set<number>
}

/** Who computes a layer, and why the others do not. */
export interface LayerChoice {
  layer: number
  peers: LayerPlan['reasons']
}

/**
 * Computes batches in the swarm: the peers with the smallest expected time cover a batch's experts, one request each; what a peer
 * fails to answer goes to replicas. Experts are stateless, so nothing is ever computed twice because of a failure elsewhere.
 */
export class SwarmDispatcher implements ExpertDispatcher {
  readonly #init: SwarmDispatcherInit
  readonly #state: DispatchState

  constructor (init: SwarmDispatcherInit) {
    this.#init = init
    this.#state = { tallies: new PeerTallies(), incumbents: new Incumbents(), budget: new HedgeBudget(init.hedgeShare, HEDGE_BURST), plans: new Map(), orphans: new Set() }
  }

  /**
   * All requests are with their sockets before this returns. Rejects with SwarmError 'experts-unavailable' (layer and experts, after
   * looking again and waiting `patienceMs`), 'replies-disagree', 'aborted', or 'bad-argument' for a batch that is not one.
   */
  dispatch (batch: ExpertBatch, signal?: AbortSignal): Promise<DispatchResult> {
    const { hiddenSize } = this.#init
    const fault = faultOf(batch, hiddenSize, this.#init.experts)
    if (fault != null) return Promise.reject(new SwarmError('bad-argument', `The batch for layer ${batch.layer} cannot be sent: ${fault}.`, { argument: 'batch' }))
    if (batch.experts.length === 0) {
      const timing = { encodeMs: 0, networkMs: 0, queueMs: 0, serviceMs: 0, decodeMs: 0, combineMs: 0 }
      return Promise.resolve({ sum: new Float32Array(batch.tokens * hiddenSize), timing })
    }
    const delivery = new Delivery(this.#init, this.#state, batch.traceIds, signal)
    return delivery.deliver(wholePart(batch), batch.tokens)
  }

  /** For peers of this machine; a link that only starts on it, such as a proxy's, is told by its round trip. */
  sharesCores (layer: number): boolean {
    const sessions = this.#init.sessions.ofLayer(layer)
    return sessions.length > 0 && sessions.every(({ peer, onLoopback }) => onLoopback && peer.latency.roundTripMs < SAME_MACHINE_RTT_MS)
  }

  /** What was compared and found out; undefined where nothing is compared. */
  get audits (): Readonly<AuditCounters> | undefined { return this.#init.auditor?.counters }

  /** Peers that were caught lying by this client. */
  get liars (): ReadonlySet<string> { return this.#init.auditor?.liars ?? new Set() }

  /** Resolves when no comparison is under way any more. */
  async auditsSettled (): Promise<void> { await this.#init.auditor?.settled() }

  peerStats (): PeerStats[] {
    return this.#state.tallies.stats()
  }

  /** The plan of each layer's last request, by layer. */
  plan (): LayerChoice[] {
    return [...this.#state.plans].map(([layer, peers]) => ({ layer, peers })).sort((a, b) => a.layer - b.layer)
  }
}

/** Why a batch is none, so that our own fault is not blamed on peers. */
function faultOf ({ tokens, hidden, counts, experts, weights }: ExpertBatch, hiddenSize: number, modelExperts: number): string | undefined {
  if (tokens < 1 || counts.length !== tokens || hidden.length !== tokens * hiddenSize) return 'its sizes do not fit its tokens'
  let assignments = 0
  for (let t = 0; t < tokens; t++) assignments += counts[t]
  if (assignments !== experts.length || assignments !== weights.length) return 'its counts do not sum up to its experts and weights'
  for (let i = 0; i < assignments; i++) {
    if (experts[i] >= modelExperts) return `expert ${experts[i]} is not in the model`
  }
  if (namesTwice(counts, experts)) return 'a token names an expert twice'
  if (!allFinite(hidden) || !allFinite(weights)) return 'it holds a value that is not finite'
  return undefined
}
