import * as limits from './constants.js'
import { PeerDirectory } from './directory/directory.js'
import { checkModelId } from './dht/keys.js'
import { type AuditOptions, Auditor } from './audit/auditor.js'
import type { Proof } from './audit/proof.js'
import { SwarmError } from './errors.js'
import type { OnSwarmEvent } from './events.js'
import { SwarmDispatcher } from './expert/dispatcher.js'
import { ExpertSessions } from './expert/sessions.js'
import type { SwarmHost } from './host.js'
import type { WireChoice } from './interface.js'
import { formatRanges } from './ranges.js'
import { baseWire } from './selection/wire.js'

export interface ConnectSwarmInit {
  host: SwarmHost
  /** 64 hex digits. */
  modelId: string
  hiddenSize: number
  /** Experts a layer of the model has. */
  experts: number
  /** The layers whose experts shall be computed by the swarm. */
  layers: number[]
  /** @default 'auto': fp16, and int8 where a link's measured bandwidth makes that clearly faster */
  wire?: WireChoice
  /** Extra requests to replicas when a peer is late, as a share of all; 0 for none. @default HEDGE_SHARE */
  hedgeShare?: number
  /** A peer that plans pass over is asked something for comparison this often. @default SHADOW_INTERVAL_MS */
  shadowIntervalMs?: number
  /** Which replies are compared with another peer's; hedged ones are too. @default none */
  audit?: Omit<AuditOptions, 'localCopy'>
  /** Computes a part here, where this machine has its experts: says who of two peers is wrong, and helps out when nobody live holds them. */
  localCopy?: AuditOptions['localCopy']
  /** Peers that are never asked: those that were caught lying before. */
  excluded?: Iterable<string>
  /** A peer was caught lying; nothing more is asked of it. */
  onLiar?: (proof: Proof) => void
  /** How long a request waits for somebody to hold its experts. @default DEFAULT_PATIENCE_MS */
  patienceMs?: number
  /** @default MANIFEST_INTERVAL_MS */
  manifestIntervalMs?: number
  /** Live peers to keep: the plan's and spares. @default MAX_LIVE_PEERS */
  maxLivePeers?: number
  /** In [0, 1): orders peers of equal expected time. @default Math.random */
  random?: () => number
  onEvent?: OnSwarmEvent
}

/** Live replicas of the experts of a layer. */
export interface LayerCoverage {
  layer: number
  /** [experts] */
  replicas: number[]
}

export interface SwarmConnection {
  readonly dispatcher: SwarmDispatcher
  readonly directory: PeerDirectory
  /** By layer, of the layers asked for, counting peers that are ready to serve. */
  coverage: () => LayerCoverage[]
  /**
   * Waits until live peers cover every expert of every layer asked for.
   * Throws SwarmError 'coverage-incomplete' naming what is missing after `timeoutMs` (default DEFAULT_READY_TIMEOUT_MS), or 'aborted'.
   */
  ready: (options?: { signal?: AbortSignal, timeoutMs?: number }) => Promise<void>
  /** Closes streams and timers; the host goes on. */
  stop: () => Promise<void>
}

/** Connects to the peers that serve a model. Returns at once; `ready` waits for them. Throws SwarmError 'bad-argument'. */
export function connectSwarm (init: ConnectSwarmInit): SwarmConnection {
  const { host: { libp2p }, modelId, hiddenSize, experts, layers } = init
  checkModelId(modelId)
  const choice = init.wire ?? 'auto'
  const wire = baseWire(choice)
  const onEvent = init.onEvent ?? (() => {})
  const directory = new PeerDirectory({
    libp2p,
    modelId,
    experts,
    layers,
    wire,
    manifestIntervalMs: init.manifestIntervalMs ?? limits.MANIFEST_INTERVAL_MS,
    maxLivePeers: init.maxLivePeers ?? limits.MAX_LIVE_PEERS,
    excluded: init.excluded,
    onEvent
  })
  const sessions = new ExpertSessions({ libp2p, directory, modelId, hiddenSize, experts, wire, onEvent })
  const auditor = init.audit == null || init.audit.share <= 0
    ? undefined
    : new Auditor({
      ...init.audit,
      localCopy: init.localCopy,
      modelId,
      hiddenSize,
      onEvent,
      onLiar: proof => {
        directory.exclude(proof.peerId)
        init.onLiar?.(proof)
      }
    })
  const dispatcher = new SwarmDispatcher({
    directory,
    sessions,
    hiddenSize,
    experts,
    wire: choice,
    hedgeShare: init.hedgeShare ?? limits.HEDGE_SHARE,
    shadowIntervalMs: init.shadowIntervalMs ?? limits.SHADOW_INTERVAL_MS,
    auditor,
    localCopy: init.localCopy,
    patienceMs: init.patienceMs ?? limits.DEFAULT_PATIENCE_MS,
    random: init.random ?? Math.random,
    onEvent
  })
  const starting = directory.start()

  const coverage = (): LayerCoverage[] => layers.map(layer => {
    const replicas = new Array<number>(experts).fill(0)
    for (const { peer } of sessions.ofLayer(layer)) {
      peer.hosted.layer(layer)?.forEach((held, expert) => { replicas[expert] += held })
    }
    return { layer, replicas }
  })

  return {
    dispatcher,
    directory,
    coverage,
    ready: async ({ signal, timeoutMs = limits.DEFAULT_READY_TIMEOUT_MS } = {}) => {
      await starting
      const endsAt = performance.now() + timeoutMs
      for (;;) {
        const missing = missingFrom(coverage())
        if (missing.length === 0) return
        const leftMs = endsAt - performance.now()
        if (leftMs <= 0) throw incomplete(missing, timeoutMs)
        await sessions.changeWithin(leftMs, signal)
      }
    },
    stop: async () => {
      await starting
      directory.stop()
      await sessions.stop()
    }
  }
}

type Missing = Array<{ layer: number, experts: number[] }>

function missingFrom (coverage: LayerCoverage[]): Missing {
  return coverage
    .map(({ layer, replicas }) => ({ layer, experts: replicas.flatMap((count, expert) => count === 0 ? [expert] : []) }))
    .filter(({ experts }) => experts.length > 0)
}

/** Names runs of experts and the first few layers: a person acts on the shape of the hole, a program reads `data`. */
function incomplete (missing: Missing, timeoutMs: number): SwarmError<'coverage-incomplete'> {
  const named = missing.slice(0, NAMED_LAYERS).map(({ layer, experts }) => `layer ${layer} experts ${formatRanges(experts)}`).join('; ')
  const more = missing.length > NAMED_LAYERS ? `; and ${missing.length - NAMED_LAYERS} more layers` : ''
  return new SwarmError('coverage-incomplete',
    `After ${timeoutMs / 1_000} s no live peer holds ${named}${more}: start peers that host them, or check the bootstrap address and the model id.`, { missing })
}

/** Layers that an error names one by one. */
const NAMED_LAYERS = 4
