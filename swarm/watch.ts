import type { CoverageCell } from './directory/coverage.js'
import { coverageMap } from './directory/coverage.js'
import type { RoutingBucket } from './dht/routing-table.js'
import type { InspectedPeer, SwarmInspector } from './inspect.js'
import type { HostedBlock } from './interface.js'

/** The swarm as one look at it found it. */
export interface SwarmSnapshot {
  /** Of the epoch, in milliseconds. */
  atMs: number
  /** What the look took. */
  tookMs: number
  peers: WatchedPeer[]
  coverage: CoverageCell[]
  buckets: RoutingBucket[]
  /** A lookup of one layer's providers, another one each time. */
  lookup?: WatchedLookup
}

export interface WatchedPeer extends InspectedPeer {
  /** When this watch first saw a provider record of it; of the epoch, in milliseconds. The DHT does not tell a record's own age. */
  firstSeenMs: number
  /** When it last answered; undefined if it never did. */
  lastAnswerMs?: number
}

export interface WatchedLookup {
  layer: number
  asked: number
  failed: number
  providers: number
  tookMs: number
}

/** What is different from the look before. */
export type SwarmChange =
  | { type: 'peer-joined', peerId: string, layers: number[], blocks: number }
  | { type: 'peer-left', peerId: string }
  | { type: 'peer-silent', peerId: string, failure: string }
  | { type: 'peer-back', peerId: string }
  | { type: 'blocks-changed', peerId: string, added: number, removed: number }
  | { type: 'hole-opened' | 'hole-closed', layer: number, firstExpert: number, experts: number }
  | { type: 'routing-table', hosts: number, before: number }

export interface SwarmWatchInit {
  inspector: SwarmInspector
  modelId: string
  /** The model's blocks, to see holes that nobody's manifest tells of. */
  expected?: HostedBlock[]
}

/** Looks at a model's swarm again and again, and tells what has changed. */
export class SwarmWatch {
  readonly #init: SwarmWatchInit
  readonly #seen = new Map<string, { firstSeenMs: number, lastAnswerMs?: number }>()
  #before: SwarmSnapshot | undefined
  #looks = 0

  constructor (init: SwarmWatchInit) {
    this.#init = init
  }

  /** Throws when `signal` aborts. */
  async look (signal?: AbortSignal): Promise<{ snapshot: SwarmSnapshot, changes: SwarmChange[] }> {
    const { inspector, modelId, expected } = this.#init
    const startedAt = performance.now()
    const found = await inspector.peers(modelId, { signal })
    signal?.throwIfAborted()
    const atMs = Date.now()
    const peers = found.map((peer): WatchedPeer => {
      const seen = this.#seen.get(peer.peerId) ?? { firstSeenMs: atMs }
      if (peer.manifest != null) seen.lastAnswerMs = atMs
      this.#seen.set(peer.peerId, seen)
      return { ...peer, ...seen }
    })
    for (const peerId of this.#seen.keys()) if (!peers.some(peer => peer.peerId === peerId)) this.#seen.delete(peerId)
    const coverage = coverageMap(peers.flatMap(({ peerId, manifest }) => manifest == null ? [] : [{ peerId, blocks: manifest.blocks }]), expected)
    const lookup = await this.#lookUp(coverage, signal)
    const snapshot: SwarmSnapshot = { atMs, tookMs: performance.now() - startedAt, peers, coverage, buckets: inspector.routingTable(), lookup }
    const changes = changesBetween(this.#before, snapshot)
    this.#before = snapshot
    return { snapshot, changes }
  }

  async #lookUp (coverage: CoverageCell[], signal: AbortSignal | undefined): Promise<WatchedLookup | undefined> {
    const layers = [...new Set(coverage.map(({ layer }) => layer))]
    if (layers.length === 0) return undefined
    const layer = layers[this.#looks++ % layers.length]
    const lookup: WatchedLookup = { layer, asked: 0, failed: 0, providers: 0, tookMs: 0 }
    const providers = new Set<string>()
    for await (const hop of this.#init.inspector.lookup({ modelId: this.#init.modelId, layer }, { signal })) {
      if (hop.kind === 'ask') lookup.asked++
      if (hop.kind === 'failed') lookup.failed++
      for (const peer of hop.peers ?? []) providers.add(peer.peerId)
      lookup.tookMs = hop.atMs
    }
    return { ...lookup, providers: providers.size }
  }
}

/** The first look has no changes but the peers that it found. */
function changesBetween (before: SwarmSnapshot | undefined, after: SwarmSnapshot): SwarmChange[] {
  const changes: SwarmChange[] = []
  const past = new Map(before?.peers.map(peer => [peer.peerId, peer]))
  for (const peer of after.peers) {
    const was = past.get(peer.peerId)
    past.delete(peer.peerId)
    if (was == null) changes.push(joined(peer))
    else if (was.manifest != null && peer.manifest == null) changes.push({ type: 'peer-silent', peerId: peer.peerId, failure: peer.failure ?? 'unreachable' })
    else if (was.manifest == null && peer.manifest != null) changes.push({ type: 'peer-back', peerId: peer.peerId })
    else changes.push(...moved(was, peer))
  }
  for (const peerId of past.keys()) changes.push({ type: 'peer-left', peerId })
  if (before == null) return changes
  const holes = new Set(before.coverage.filter(({ peers }) => peers.length === 0).map(keyOf))
  const known = new Set(before.coverage.map(keyOf))
  for (const { layer, firstExpert, experts, peers } of after.coverage) {
    const was = holes.delete(keyOf({ layer, firstExpert, experts }))
    if (peers.length === 0 && !was && known.has(keyOf({ layer, firstExpert, experts }))) changes.push({ type: 'hole-opened', layer, firstExpert, experts })
    if (peers.length > 0 && was) changes.push({ type: 'hole-closed', layer, firstExpert, experts })
  }
  const hosts = hostsIn(after)
  if (hosts !== hostsIn(before)) changes.push({ type: 'routing-table', hosts, before: hostsIn(before) })
  return changes
}

function joined ({ peerId, manifest }: WatchedPeer): SwarmChange {
  const blocks = manifest?.blocks ?? []
  return { type: 'peer-joined', peerId, layers: [...new Set(blocks.map(({ layer }) => layer))].sort((a, b) => a - b), blocks: blocks.length }
}

function moved ({ manifest: was }: WatchedPeer, { peerId, manifest: is }: WatchedPeer): SwarmChange[] {
  const had = new Set((was?.blocks ?? []).map(keyOf))
  const has = new Set((is?.blocks ?? []).map(keyOf))
  const added = [...has].filter(key => !had.has(key)).length
  const removed = [...had].filter(key => !has.has(key)).length
  return added + removed === 0 ? [] : [{ type: 'blocks-changed', peerId, added, removed }]
}

function hostsIn ({ buckets }: SwarmSnapshot): number {
  return buckets.reduce((sum, { peers }) => sum + peers.length, 0)
}

function keyOf ({ layer, firstExpert, experts }: HostedBlock): string {
  return `${layer}/${firstExpert}/${experts}`
}
