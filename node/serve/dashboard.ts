import { basename, resolve } from 'node:path'
import { coverageMap, formatRanges, type InspectedPeer } from '../../swarm/index.js'
import type { SwarmPeer } from '../swarm-peer.js'
import type { HttpListener } from './http-listener.js'
import { pageRoutes } from './page-routes.js'
import { listen } from './routes.js'
import { type PeerView, type SwarmView, trafficView } from './swarm-view.js'
import type { TrafficMonitor } from './traffic-monitor.js'

export interface DashboardInit {
  peer: SwarmPeer
  /** Its `onLayer` has to be the peer's. */
  monitor: TrafficMonitor
  /** Interface to listen on. @default 127.0.0.1, which nobody else reaches */
  host?: string
  /** 0 takes a free one. */
  port: number
}

/** How often the other peers are asked, in milliseconds: each time every one of them. */
const INSPECT_MS = 5_000

/** The web page of a peer: the swarm as the peer sees it, and what it computes. Stop it before the peer. */
export class Dashboard {
  private others: InspectedPeer[] = []
  private readonly stopped = new AbortController()
  private timer?: NodeJS.Timeout
  private asking: Promise<void> = Promise.resolve()

  private constructor (private readonly peer: SwarmPeer, private readonly monitor: TrafficMonitor) {}

  /** Rejects with the system's error (`EADDRINUSE`, ...) when it cannot listen. */
  static async start ({ peer, monitor, host = '127.0.0.1', port }: DashboardInit): Promise<{ url: string, stop: () => Promise<void> }> {
    const dashboard = new Dashboard(peer, monitor)
    const listener: HttpListener = await listen({ host, port, cors: [], routes: pageRoutes({ view: () => dashboard.view(), traffic: () => trafficView(monitor) }) })
    dashboard.inspect()
    return {
      url: listener.url,
      stop: async () => {
        dashboard.stopped.abort()
        clearTimeout(dashboard.timer)
        await Promise.all([dashboard.asking, listener.stop(0)])
      }
    }
  }

  private inspect (): void {
    this.asking = this.peer.others({ signal: this.stopped.signal })
      .then(others => { this.others = others }, () => { /* the next round is due anyway */ })
      .finally(() => {
        if (!this.stopped.signal.aborted) this.timer = setTimeout(() => { this.inspect() }, INSPECT_MS)
      })
  }

  private view (): SwarmView {
    const { peer, monitor } = this
    const { bundle, blocks, peerId } = peer
    const { config } = bundle
    const { batches, workers } = peer.state()
    const live = this.others.flatMap(({ manifest, ...other }) => manifest === undefined ? [] : [{ ...other, manifest }])
    const holders = [{ peerId, blocks }, ...live.map(other => ({ peerId: other.peerId, blocks: other.manifest.blocks }))]
    const layersOf = (held: Array<{ layer: number }>): string => formatRanges([...new Set(held.map(({ layer }) => layer))].sort((a, b) => a - b))
    const self: PeerView = { peerId, self: true, latencyMs: null, layers: layersOf(blocks), blocks: blocks.length, version: 'this peer', load: batches, capacity: workers, work: null }
    return {
      role: 'peer',
      chat: false,
      model: {
        id: bundle.id, name: `${basename(resolve(bundle.dir)).replace(/\.bundle$/, '')}:${bundle.id.slice(0, 12)}`,
        layers: config.layerTypes.length, experts: config.experts, topK: config.topK, context: config.maxPositions
      },
      cells: coverageMap(holders, bundle.blocks).map(({ peers, layer, firstExpert, experts }) => ({ layer, firstExpert, experts, replicas: peers.length, local: false })),
      peers: [self, ...live.map(({ peerId: id, latencyMs, manifest }): PeerView => ({
        peerId: id, self: false, latencyMs: latencyMs ?? null, layers: layersOf(manifest.blocks), blocks: manifest.blocks.length,
        version: manifest.version, load: manifest.load, capacity: manifest.capacity, work: null
      }))],
      ...trafficView(monitor)
    }
  }
}
