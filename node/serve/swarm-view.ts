import type { CoverageCell } from '../../swarm/index.js'
import type { FinishedGeneration, LayerTraffic, RunningGeneration, TrafficMonitor } from './traffic-monitor.js'

/** What the page shows of a peer. Times in milliseconds; null is not known. */
export interface PeerView {
  peerId: string
  /** The page is this peer's own. */
  self: boolean
  latencyMs: number | null
  /** Such as '0-3'. */
  layers: string
  blocks: number
  version: string
  /** Batches waiting or running, and compute workers. */
  load: number
  capacity: number
  /** What it did for this client; null where the page is no client's. */
  work: { requests: number, failures: number, queueMs: number, serviceMs: number, share: number } | null
}

/** What changes with every lap. */
export interface TrafficView {
  traffic: LayerTraffic[]
  running: RunningGeneration[]
  last: FinishedGeneration | null
}

/** What the page shows: the swarm as this process sees it. */
export interface SwarmView extends TrafficView {
  role: 'client' | 'peer'
  /** Whether the server answers /v1/chat/completions. */
  chat: boolean
  model: { id: string, name: string, layers: number, experts: number, topK: number, context: number }
  cells: Array<Omit<CoverageCell, 'peers'> & { replicas: number, local: boolean }>
  peers: PeerView[]
}

/** Where the page's feed comes from. A view walks through all blocks of all peers, traffic costs next to nothing. */
export interface ViewSource {
  view: () => SwarmView
  traffic: () => TrafficView
}

export function trafficView (monitor: TrafficMonitor): TrafficView {
  return { traffic: monitor.layers(), running: monitor.running(), last: monitor.last() ?? null }
}
