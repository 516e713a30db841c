import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { type BlockEntry, type Bundle, convertCheckpoint, formatBytes, MANIFEST_FILE } from '../model-tools/index.js'
import { type BlocksConnection, type FileStore, type HostedBlock, isSettled, isSwarmError, layerKey, modelKey, type PeerSample, PLACEMENT_SAMPLE_PEERS, SETTLE_MS, type PlacementBlock, type PlacementPlan, planPlacement, samplePeers, type ServingPeer, type SwarmHost, SwarmError, withHolders } from '../swarm/index.js'
import { contentFiles } from './bundle-store.js'
import { type ExpertHost, expertHostBytes, hostBaseBytes } from './host/expert-host.js'

/** How often coverage is looked at, in milliseconds. The plan has a damping of its own. */
const REVIEW_INTERVAL_MS = 5_000

/** What heap and code of a peer grow by in its first minutes, whatever it hosts: 35-45 MiB measured on Node 20. */
export const PROCESS_GROWTH_BYTES = 64 * 1024 * 1024

/** Reviews in a row that must measure too much memory before blocks go: garbage that is not collected yet is no reason. */
const EXCESS_REVIEWS = 3

/** Between two attempts to get the client part, in milliseconds. */
const CLIENT_PART_RETRY_MS = 60_000

/** Between no longer announcing a block and no longer computing it, so that clients have a new manifest by then, in milliseconds. */
const FAREWELL_MS = 10_000

export type DonationEvent =
  | { type: 'plan', take: HostedBlock[], drop: HostedBlock[], reasons: PlacementPlan['reasons'] }
  | { type: 'fetching', doneBytes: number, totalBytes: number }
  | { type: 'hosting', blocks: HostedBlock[] }
  /** What was planned could not be had; it is tried again. */
  | { type: 'review-failed', reason: string }
  /** Nobody has the client part, and no source gives it; it is tried again. */
  | { type: 'client-part-missing', reason: string }

export interface DonationInit {
  bundle: Bundle
  host: SwarmHost
  store: FileStore
  blocks: BlocksConnection
  /** Resident bytes that this process may take. */
  limitBytes: number
  /** Resident bytes of this process, measured. */
  residentBytes: () => number
  /** Compute workers that are yet to be started. */
  threads: number
  /** Where blocks come from that no peer has: a checkpoint as `moeswarm convert` takes it. */
  source?: string
  /** Whether to keep the client part on disk too, for users who fetch it: a swarm that has lost it gets no new ones. */
  clientPart: boolean
  /** Between two looks at the swarm's coverage. @default REVIEW_INTERVAL_MS */
  reviewIntervalMs?: number
  /** Of the placement. @default PLACEMENT_HOLD_MS */
  holdMs?: number
  /** Of the placement, for blocks that are held and for holes. @default PLACEMENT_TURN_MS, PLACEMENT_HOLE_TURN_MS */
  turnMs?: number
  /** @default FAREWELL_MS */
  farewellMs?: number
  onEvent?: (event: DonationEvent) => void
}

/** What a donation moves blocks in and out of once it serves. */
export interface DonationTarget {
  compute: Pick<ExpertHost, 'add' | 'remove'>
  serving: ServingPeer
}

/**
 * Chooses the blocks that the swarm covers least, obtains them, and moves when coverage changes (swarm/selection/placement.ts).
 * A block is announced only when it is hosted, and computed for a while after it is no longer announced.
 */
export class Donation {
  private own: BlockEntry[] = []
  private placement: PlacementPlan['state'] | undefined
  /** Of `expertHostBytes`: what is left of the limit when the process has its own. */
  private budgetBytes: number
  private excessReviews = 0
  private readonly stopped = new AbortController()
  private running: Promise<unknown> = Promise.resolve()

  constructor (private readonly init: DonationInit) {
    this.budgetBytes = init.limitBytes - init.residentBytes() - hostBaseBytes(init.threads) - PROCESS_GROWTH_BYTES
  }

  get hosted (): BlockEntry[] { return this.own }

  /**
   * Plans for the first time, agrees with others that start at the same time, and obtains the blocks; the caller hosts and serves them.
   * @throws SwarmError 'bad-argument' when the budget is smaller than a block; 'blocks-unavailable' when nobody and no source has them
   */
  async begin (serving: Pick<ServingPeer, 'setWanted'>, signal?: AbortSignal): Promise<BlockEntry[]> {
    const take = await this.settle(serving, signal)
    if (take.length === 0) {
      const least = Math.min(...this.init.bundle.blocks.map(block => expertHostBytes(this.init.bundle, [block])))
      throw new SwarmError('bad-argument', `The donation holds no block: the smallest takes ${formatBytes(least)} of memory, and this process without blocks ${formatBytes(this.init.limitBytes - this.budgetBytes)}; donate at least ${formatBytes(this.init.limitBytes - this.budgetBytes + least)}.`, { argument: 'donate' })
    }
    serving.setWanted({ intended: [], fetching: take })
    this.own = await this.obtain(take, signal)
    return this.own
  }

  /** Says what it would like to host, and looks again what others would, until no other choice would cover the swarm better. */
  private async settle (serving: Pick<ServingPeer, 'setWanted'>, signal?: AbortSignal): Promise<HostedBlock[]> {
    let intended: HostedBlock[] = []
    for (let look = 1; ; look++) {
      const { plan: { take }, blocks, whole } = await this.plan(signal, intended)
      if (isSettled({ look, take, intended, blocks, whole })) return take
      intended = take
      serving.setWanted({ intended, fetching: [] })
      if (!await pause(SETTLE_MS * (1 + Math.random()), signal ?? this.stopped.signal)) throw signal?.reason ?? this.stopped.signal.reason
    }
  }

  /** Follows the swarm's coverage until `stop`. */
  follow (target: DonationTarget): void {
    this.running = Promise.all([this.review(target), this.init.clientPart ? this.keepClientPart() : undefined])
  }

  async stop (): Promise<void> {
    this.stopped.abort()
    await this.running
  }

  private async review (target: DonationTarget): Promise<void> {
    const { signal } = this.stopped
    while (await pause(this.init.reviewIntervalMs ?? REVIEW_INTERVAL_MS, signal)) {
      try {
        await this.move((await this.plan(signal)).plan, target)
      } catch (error) {
        if (signal.aborted) return
        this.init.onEvent?.({ type: 'review-failed', reason: error instanceof Error ? error.message : String(error) })
      }
    }
  }

  private async move (plan: PlacementPlan, target: DonationTarget): Promise<void> {
    const { serving } = target
    if (plan.take.length > 0) serving.setWanted({ intended: [], fetching: plan.take })
    try {
      await this.exchange(plan, target)
    } finally {
      serving.setWanted({ intended: [], fetching: [] })
    }
  }

  /**
   * `own` is at every step what is hosted, so a step that fails leaves a state that the next plan can go on from. Nothing is given up before what comes
   * instead is here and every byte of it right, and before another look has shown that others still serve what is given up; when it cannot be loaded
   * all the same, what was given up for room comes back.
   */
  private async exchange (plan: PlacementPlan, { compute, serving }: DonationTarget): Promise<void> {
    const { signal } = this.stopped
    const take = plan.take.length === 0 ? [] : await this.obtain(plan.take, signal)
    const drop = this.entries(plan.drop)
    if (take.length === 0 && drop.length === 0) return
    if (take.length > 0 && drop.length > 0) {
      await this.init.bundle.verify(take.map(({ file }) => file))
      if (!await this.othersServe(drop)) return
    }
    const giveUp = async (): Promise<void> => {
      const kept = this.own.filter(block => !drop.includes(block))
      await serving.setBlocks(kept)
      if (!await pause(this.init.farewellMs ?? FAREWELL_MS, signal)) throw signal.reason
      await compute.remove(drop)
      this.own = kept
    }
    // Room first, or the exchange would exceed the donation; but a peer must have something to serve.
    const roomFirst = drop.length > 0 && drop.length < this.own.length
    if (roomFirst) await giveUp()
    try {
      await compute.add(take, { signal })
    } catch (error) {
      if (roomFirst && !signal.aborted) {
        await compute.add(drop, { signal })
        this.own = [...this.own, ...drop]
        await serving.setBlocks(this.own)
      }
      throw error
    }
    this.own = [...this.own, ...take]
    if (drop.length > 0 && !roomFirst) await giveUp()
    await serving.setBlocks(this.own)
    this.init.onEvent?.({ type: 'hosting', blocks: this.own })
  }

  /** Whether each of these blocks is served by somebody else, now that obtaining others has taken its time. */
  private async othersServe (drop: BlockEntry[]): Promise<boolean> {
    const { bundle, host } = this.init
    const { live } = await samplePeers(host, modelKey(bundle.id), bundle.id, { most: PLACEMENT_SAMPLE_PEERS, signal: this.stopped.signal })
    const served = withHolders(drop.map(block => ({ ...block, bytes: 0 })), live)
    return served.every(({ holders }) => holders.some(({ stage }) => stage === undefined))
  }

  /** Until it is here: from peers, or else from the source. Placement does not wait for it. */
  private async keepClientPart (): Promise<void> {
    const { bundle, blocks, store, source, onEvent } = this.init
    const { signal } = this.stopped
    const missing = (): string[] => bundle.clientFiles().filter(file => store.bytesOf(bundle.manifest.files[file].sha256) === undefined)
    while (missing().length > 0) {
      try {
        await blocks.fetchFiles(contentFiles(bundle, missing()), store, { signal })
      } catch (error) {
        if (signal.aborted) return
        try {
          if (source === undefined) throw error
          await this.convert(source, { layers: 'none', client: true }, missing(), signal)
        } catch (failure) {
          onEvent?.({ type: 'client-part-missing', reason: failure instanceof Error ? failure.message : String(failure) })
          if (!await pause(CLIENT_PART_RETRY_MS, signal)) return
        }
      }
    }
  }

  private async plan (signal?: AbortSignal, intended?: HostedBlock[]): Promise<{ plan: PlacementPlan, blocks: PlacementBlock[], whole: boolean }> {
    const { bundle, host } = this.init
    const sample = async (key: CID): Promise<PeerSample> => await samplePeers(host, key, bundle.id, { most: PLACEMENT_SAMPLE_PEERS, signal })
    const { live, whole } = await sample(modelKey(bundle.id))
    const budgetBytes = this.measuredBudget()
    let planned = this.planFrom(live, whole, budgetBytes, intended)
    if (!whole && planned.plan.drop.length > 0) {
      // What nobody of a sample holds others may: whoever holds the layer is asked before anything is given up for it.
      const layers = [...new Set(planned.plan.take.map(({ layer }) => layer))]
      const more = (await Promise.all(layers.map(async layer => await sample(layerKey(bundle.id, layer))))).flatMap(found => found.live)
      planned = this.planFrom([...new Map([...live, ...more].map(peer => [peer.peerId, peer])).values()], whole, budgetBytes, intended)
      if (!planned.plan.take.every(({ layer }) => layers.includes(layer))) planned.plan = { ...planned.plan, take: [], drop: [], state: this.placement! }
    }
    const { plan } = planned
    this.placement = plan.state
    if (plan.take.length > 0 || plan.drop.length > 0) this.init.onEvent?.({ type: 'plan', take: plan.take, drop: plan.drop, reasons: plan.reasons })
    return { ...planned, whole }
  }

  private planFrom (live: PeerSample['live'], whole: boolean, budgetBytes: number, intended: HostedBlock[] | undefined): { plan: PlacementPlan, blocks: PlacementBlock[] } {
    const { bundle, host, holdMs, turnMs } = this.init
    const blocks = withHolders(bundle.blocks.map(block => ({ ...block, bytes: expertHostBytes(bundle, [block]) })), live)
    const plan = planPlacement({
      peerId: host.peerId,
      budgetBytes,
      holdMs,
      turnMs,
      holeTurnMs: turnMs,
      blocks,
      own: this.own,
      intended,
      whole,
      nowMs: Date.now(),
      state: this.placement,
      random: Math.random
    })
    return { plan, blocks }
  }

  /** When the process goes on taking more than was donated, blocks make up for it, down to one: what counts is what is measured. */
  private measuredBudget (): number {
    const { bundle, limitBytes, residentBytes } = this.init
    const excess = this.own.length > 0 ? residentBytes() - limitBytes : 0
    this.excessReviews = excess > 0 ? this.excessReviews + 1 : 0
    if (this.excessReviews >= EXCESS_REVIEWS) {
      this.excessReviews = 0
      const [first] = this.own
      this.budgetBytes = Math.min(this.budgetBytes, Math.max(expertHostBytes(bundle, [first]), expertHostBytes(bundle, this.own) - excess))
    }
    return this.budgetBytes
  }

  /** From peers, and what no peer has from the source. */
  private async obtain (wanted: HostedBlock[], signal?: AbortSignal): Promise<BlockEntry[]> {
    const { bundle, blocks, store, source, onEvent } = this.init
    const entries = this.entries(wanted)
    const files = contentFiles(bundle, entries.map(({ file }) => file)).filter(({ sha256 }) => store.bytesOf(sha256) === undefined)
    if (files.length === 0) return entries
    try {
      await blocks.fetchFiles(files, store, { signal, onProgress: ({ doneBytes, totalBytes }) => onEvent?.({ type: 'fetching', doneBytes, totalBytes }) })
    } catch (error) {
      if (source === undefined || !isSwarmError(error, 'blocks-unavailable')) throw error
      for (const { layer, firstExpert, experts, file } of entries) {
        if (store.bytesOf(bundle.manifest.files[file].sha256) !== undefined) continue
        await this.convert(source, { layers: `${layer}`, experts: `${firstExpert}-${firstExpert + experts - 1}`, client: false }, [file], signal)
      }
    }
    return entries
  }

  private async convert (checkpoint: string, part: { layers: string, experts?: string, client: boolean }, files: string[], signal?: AbortSignal): Promise<void> {
    const { bundle, store } = this.init
    await convertCheckpoint({ checkpoint, out: bundle.dir, manifest: join(bundle.dir, MANIFEST_FILE), ...part, signal })
    // The store looks, and serves them from now on.
    for (const content of contentFiles(bundle, files)) await (await store.open(content)).close()
  }

  private entries (blocks: HostedBlock[]): BlockEntry[] {
    return this.init.bundle.blocks.filter(entry => blocks.some(block => block.layer === entry.layer && block.firstExpert === entry.firstExpert))
  }
}

/** False when it was cut short. */
async function pause (ms: number, signal: AbortSignal): Promise<boolean> {
  return await new Promise(resolve => {
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve(!signal.aborted)
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
    if (signal.aborted) done()
  })
}
