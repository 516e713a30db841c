import { Bundle } from '../../model-tools/index.js'
import { type PeerProcess, startPeerBehindLink } from '../peer-process.js'
import { type ProxyProcess, startProxyProcess } from '../wan-proxy/index.js'

/** Peers of the bench; each layer is with two of them. */
export const PEERS = 3

/** Three peer processes behind links of a proxy process: who dials them, the client or each other, is an internet away. */
export class WanSwarm {
  readonly peers: PeerProcess[] = []

  private constructor (private readonly model: string, readonly proxy: ProxyProcess, readonly layers: number) {}

  static async start (model: string): Promise<WanSwarm> {
    const layers = (await Bundle.open(model)).config.layerTypes.length
    const swarm = new WanSwarm(model, await startProxyProcess(Array.from({ length: PEERS }, (_, seed) => ({ seed: seed + 1 }))), layers)
    try {
      for (let at = 0; at < PEERS; at++) await swarm.startPeer(at)
    } catch (error) {
      await swarm.stop()
      throw error
    }
    return swarm
  }

  /** Puts a new peer where there is none, or where one has died. */
  async startPeer (at: number): Promise<void> {
    const own = Array.from({ length: this.layers }, (_, layer) => layer).filter(layer => layer % PEERS === at || (layer + 1) % PEERS === at)
    const others = this.peers.filter((_, other) => other !== at).slice(0, 1)
    // The most fit for a machine with less cores than peers: a thread each.
    this.peers[at] = await startPeerBehindLink(['--model', this.model, '--layers', own.join(','), '--threads', '1', ...others.flatMap(peer => ['--bootstrap', peer.addresses[0]])], this.proxy, at)
  }

  get bootstrap (): string[] { return [this.peers[0].addresses[0]] }

  /** Makes every link one of this round trip, each way half of it, with jitter as a share of the delay. Milliseconds. */
  async distance (roundTripMs: number, jitter = 0): Promise<void> {
    await Promise.all(this.peers.map(async (_, link) => { await this.proxy.set(link, { delayMs: roundTripMs / 2, jitterMs: jitter * roundTripMs / 2 }) }))
  }

  /** Makes one peer's link this many times as slow as it is to be. */
  async slow (peer: number, roundTripMs: number, times: number): Promise<void> {
    await this.proxy.set(peer, { delayMs: times * roundTripMs / 2 })
  }

  async stop (): Promise<void> {
    await Promise.all(this.peers.map(async peer => await peer.stop()))
    await this.proxy.stop()
  }
}
