import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { lacking } from './layout.js'
import type { Fault } from './schedule.js'
import type { PeerSwarm } from './swarm.js'

/** A peer counts as a living replica when nothing has been done to it for this long: the client has had time to hear of it. */
const STEADY_MS = 4_000

export interface Injected extends Fault {
  /** When it began, as a time of performance.now(). */
  beganMs: number
}

/** Does what a schedule says to the peers of a swarm, and undoes it. */
export class FaultInjector {
  readonly injected: Injected[] = []
  /** Peer ids of strangers that lied. */
  readonly liars: string[] = []
  /** Faults that were left out since they would have taken the last living replica: a peer took longer to come back than the schedule thinks. */
  skipped = 0

  constructor (private readonly swarm: PeerSwarm, private readonly onFault: (fault: Fault) => void) {}

  /** Returns at the signal; what is being done to peers then is not undone. Rejects with what a peer failed to start with. */
  async follow (schedule: readonly Fault[], signal: AbortSignal): Promise<void> {
    const startedAt = performance.now()
    const end = new AbortController()
    let failure: Error | undefined
    const stop = (): void => { end.abort() }
    signal.addEventListener('abort', stop)
    for (const fault of schedule) {
      const slept = await sleep(Math.max(0, startedAt + fault.atMs - performance.now()), true, { signal: end.signal }).catch(() => false)
      if (!slept) break
      if (!this.#mayBegin(fault)) {
        this.skipped++
        continue
      }
      this.injected.push({ ...fault, beganMs: performance.now() })
      this.onFault(fault)
      void this.#inject(fault, signal).catch((error: unknown) => {
        if (signal.aborted) return
        failure ??= error as Error
        stop()
      })
    }
    if (!end.signal.aborted) await once(end.signal, 'abort')
    signal.removeEventListener('abort', stop)
    if (failure !== undefined) throw failure
  }

  #mayBegin ({ peer, kind }: Fault): boolean {
    const { swarm } = this
    if (swarm.steadySince[peer] === Infinity) return false
    return kind === 'slow' || lacking(swarm.layout, peer, swarm.steady(STEADY_MS)).length === 0
  }

  async #inject ({ atMs, peer, kind, lastsMs, delayMs = 0 }: Fault, signal: AbortSignal): Promise<void> {
    const { swarm, swarm: { proxy } } = this
    const lasts = async (): Promise<void> => { await sleep(lastsMs, undefined, { signal }) }
    // One that is slow still lives.
    if (kind !== 'slow') swarm.steadySince[peer] = Infinity
    switch (kind) {
      case 'kill':
        await swarm.endPeer(peer, 'SIGKILL')
        await lasts()
        return await swarm.startPeer(peer)
      case 'restart':
        await swarm.endPeer(peer, 'SIGTERM')
        return await swarm.startPeer(peer)
      case 'stop':
        swarm.peers[peer]?.child.kill('SIGSTOP')
        await lasts()
        swarm.peers[peer]?.child.kill('SIGCONT')
        break
      case 'slow':
        await proxy.set(peer, { delayMs })
        await lasts()
        return await proxy.set(peer, { delayMs: 0 })
      case 'lie':
        await swarm.endPeer(peer, 'SIGKILL')
        this.liars.push(await swarm.startLiar(peer, atMs))
        await lasts()
        await swarm.endPeer(peer, 'SIGKILL')
        return await swarm.startPeer(peer)
      case 'cut':
        await proxy.cut(peer, true)
        await lasts()
        await proxy.resume(peer)
        break
      case 'stall':
        await proxy.stall(peer)
        await lasts()
        await proxy.resume(peer)
    }
    swarm.steadySince[peer] = performance.now()
  }
}
