import { processMemory } from '../bench/process-memory.js'
import { quantile } from './report.js'
import type { PeerSwarm } from './swarm.js'

const LOOK_MS = 2_000
/** A process is compared with itself at this age, when its heap and its compilers have come to rest. */
const SETTLED_MS = 20_000

/** Anonymous memory of a process at the first look and at the last. */
export interface Growth {
  who: string
  beforeBytes: number
  afterBytes: number
}

interface Watched {
  seenAtMs: number
  beforeBytes?: number
  afterBytes?: number
}

/** Looks at this process and at the peers of a swarm now and then; a peer that was started again is another process. */
export class MemoryWatch {
  readonly #watched = new Map<number, Watched>()
  readonly #timer: NodeJS.Timeout

  constructor (private readonly swarm: PeerSwarm) {
    this.#timer = setInterval(() => { void this.#look() }, LOOK_MS)
  }

  stop (): void {
    clearInterval(this.#timer)
  }

  /** Of the client, and of the peers the median and the most. Empty where the kernel tells nothing, and before processes have settled. */
  growth (): Growth[] {
    const { client, peers } = this.#settled()
    const grown = ({ beforeBytes, afterBytes }: Growth): number => afterBytes - beforeBytes
    const sorted = peers.sort((a, b) => grown(a) - grown(b))
    const middle = sorted.find(peer => grown(peer) === quantile(sorted.map(grown), 0.5))
    return [...client, ...middle === undefined ? [] : [{ ...middle, who: 'a peer, median' }, { ...sorted[sorted.length - 1], who: 'a peer, most' }]]
  }

  #settled (): { client: Growth[], peers: Growth[] } {
    const all = [...this.#watched].flatMap(([pid, { beforeBytes, afterBytes }]) => beforeBytes === undefined || afterBytes === undefined ? [] : [{ pid, beforeBytes, afterBytes }])
    const named = (own: boolean, who: string): Growth[] => all.filter(({ pid }) => (pid === process.pid) === own).map(({ beforeBytes, afterBytes }) => ({ who, beforeBytes, afterBytes }))
    return { client: named(true, 'client'), peers: named(false, 'peer') }
  }

  async #look (): Promise<void> {
    const pids = [process.pid, ...this.swarm.peers.flatMap(peer => peer?.child.pid ?? [])]
    await Promise.all(pids.map(async pid => {
      const nowMs = performance.now()
      const watched = this.#watched.get(pid) ?? { seenAtMs: nowMs }
      this.#watched.set(pid, watched)
      const memory = await processMemory(pid)
      if (memory === undefined || nowMs - watched.seenAtMs < SETTLED_MS) return
      watched.beforeBytes ??= memory.anonymousBytes
      watched.afterBytes = memory.anonymousBytes
    }))
  }
}
