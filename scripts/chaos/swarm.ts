import { setMaxListeners } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type PeerProcess, startLyingPeerProcess, startPeerBehindLink, startPeerProcess } from '../peer-process.js'
import { type ProxyProcess, startProxyProcess } from '../wan-proxy/index.js'
import { type Holding, holdingArgs } from './layout.js'

/** Peers that others are told to join by: any of them may be away. */
const ENTRANCES = 3
/** Peers that start at a time: more would only wait for each other's cores. */
const STARTS_AT_ONCE = 2
/** A machine with less cores than peers starts them slowly. */
const READY_MS = 120_000
const START_TRIES = 5

/** Peer processes, each behind a link of a proxy process and with an identity that outlives it. */
export class PeerSwarm {
  /** undefined: not running. */
  readonly peers: Array<PeerProcess | undefined>
  /** How long peers have been as they should be, as a time of performance.now(); Infinity: something is done to them. */
  readonly steadySince: number[]
  readonly #ended = new AbortController()

  private constructor (readonly model: string, readonly layout: readonly Holding[], readonly proxy: ProxyProcess, private readonly keys: string, private readonly nodeArgs: readonly string[]) {
    // One of each peer that is ever started.
    setMaxListeners(0, this.#ended.signal)
    this.peers = layout.map(() => undefined)
    this.steadySince = layout.map(() => Infinity)
  }

  /** Rejects with the signal's reason, and with what a peer failed with; nothing is left then. `nodeArgs`: of the peers' processes. */
  static async start (model: string, layout: readonly Holding[], { signal, nodeArgs = [], onProgress }: { signal?: AbortSignal, nodeArgs?: readonly string[], onProgress?: (done: number, total: number) => void } = {}): Promise<PeerSwarm> {
    const keys = await mkdtemp(join(tmpdir(), 'moeswarm-chaos-'))
    const swarm = new PeerSwarm(model, layout, await startProxyProcess(layout.map((_, at) => ({ seed: at + 1 }))), keys, nodeArgs)
    try {
      await swarm.startPeer(0)
      onProgress?.(1, layout.length)
      let next = 1
      let done = 1
      await Promise.all(Array.from({ length: STARTS_AT_ONCE }, async () => {
        while (next < layout.length) {
          signal?.throwIfAborted()
          await swarm.startPeer(next++)
          onProgress?.(++done, layout.length)
        }
      }))
      signal?.throwIfAborted()
    } catch (error) {
      await swarm.stop()
      throw error
    }
    return swarm
  }

  /** Addresses by which the swarm can be joined, without those of `peer` itself. */
  entrances (peer?: number): string[] {
    return this.proxy.links.slice(0, ENTRANCES).flatMap(({ host, port }, at) => at === peer ? [] : [`/ip4/${host}/tcp/${port}`])
  }

  /** Starts a peer that is not running, with the identity that it had. */
  async startPeer (peer: number): Promise<void> {
    const others = this.peers.some(one => one !== undefined) ? this.entrances(peer) : []
    this.peers[peer] = await this.#started([...this.#args(peer, others), '--key', join(this.keys, `${peer}.key`)], peer, startPeerProcess)
    this.steadySince[peer] = performance.now()
  }

  /** Starts a stranger in the place of a peer that is not running, which lies in every reply. Returns its peer id; it is nobody's living replica. */
  async startLiar (peer: number, seed: number): Promise<string> {
    const liar = await this.#started([...this.#args(peer, this.entrances(peer)), '--share', '1', '--seed', String(seed)], peer, startLyingPeerProcess)
    this.peers[peer] = liar
    return liar.peerId
  }

  #args (peer: number, bootstrap: string[]): string[] {
    return ['--model', this.model, ...holdingArgs(this.layout[peer]), '--threads', '1', ...bootstrap.flatMap(address => ['--bootstrap', address])]
  }

  /** As a service manager does: one that finds nobody in time, on a machine that is too busy, is started again. */
  async #started (args: string[], peer: number, start: typeof startPeerProcess, tries = START_TRIES): Promise<PeerProcess> {
    try {
      return await startPeerBehindLink(args, this.proxy, peer, { readyMs: READY_MS, signal: this.#ended.signal, nodeArgs: this.nodeArgs }, start)
    } catch (error) {
      if (tries <= 1 || this.#ended.signal.aborted) throw error
      return await this.#started(args, peer, start, tries - 1)
    }
  }

  /** Ends a peer; resolves when its process has ended. */
  async endPeer (peer: number, signal: NodeJS.Signals): Promise<void> {
    const running = this.peers[peer]
    this.steadySince[peer] = Infinity
    await running?.stop(signal)
    this.peers[peer] = undefined
  }

  /** The peers that have been as they should for this long. */
  steady (forMs: number): number[] {
    const before = performance.now() - forMs
    return this.layout.flatMap((_, peer) => this.steadySince[peer] <= before ? [peer] : [])
  }

  /** Ends every process, stopped ones too, and deletes the identities. */
  async stop (): Promise<void> {
    this.#ended.abort()
    await Promise.all(this.peers.map(async peer => await peer?.stop('SIGKILL')))
    await this.proxy.stop()
    await rm(this.keys, { recursive: true, force: true })
  }
}
