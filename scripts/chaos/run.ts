import { setMaxListeners } from 'node:events'
import type { OnSwarmEvent, SwarmClient } from '../../node/index.js'
import { AUDIT_SHARE } from '../../node/client-audit.js'
import { demoBundle } from '../demo-bundle.js'
import { FaultInjector } from './faults.js'
import { GeneratingClient, localStories, openSwarmClient } from './generating-client.js'
import { LAYOUT } from './layout.js'
import { MemoryWatch } from './memory.js'
import { addedTimes, type ChaosReport } from './report.js'
import { type Fault, FAULT_KINDS, faultSchedule } from './schedule.js'
import { PeerSwarm } from './swarm.js'

export interface ChaosInit {
  seed: number
  minutes: number
  /** Share of the replies that are compared. @default the client's own */
  audit?: number
  /** Whether peers are made to lie, in every reply. @default false */
  lies?: boolean
  onStep?: (text: string) => void
  onStarted?: (peers: number, of: number) => void
  onFault?: (fault: Fault) => void
  /** Of the client. */
  onEvent?: OnSwarmEvent
  /** Called every second while the swarm generates. */
  onTick?: (seconds: number, ofSeconds: number, tokens: number) => void
  signal?: AbortSignal
}

/** Twelve peer processes, a client that generates without pause, and the faults of the seed's schedule. Rejects with the signal's reason; no process is left then. */
export async function runChaos ({ seed, minutes, audit = AUDIT_SHARE, lies = false, onStep, onStarted, onFault, onEvent, onTick, signal }: ChaosInit): Promise<ChaosReport> {
  const durationMs = minutes * 60_000
  const schedule = faultSchedule({ seed, durationMs, layout: LAYOUT, lies })
  onStep?.('Generating the texts with all experts in this process ...')
  const model = await demoBundle('f32', undefined, signal)
  const stories = await localStories(model, signal)
  onStep?.(`Starting ${LAYOUT.length} peers ...`)
  const swarm = await PeerSwarm.start(model, LAYOUT, { signal, onProgress: onStarted })
  const failedRequests: Record<string, number> = {}
  let hedged = 0
  const caughtAfter: number[] = []
  const memory = new MemoryWatch(swarm)
  try {
    const client: SwarmClient = await openSwarmClient(model, swarm.entrances(), {
      signal,
      audit,
      // A copy on this machine would do for a replica that is not found; only where somebody lies it is there to say who.
      copyMemory: lies ? undefined : 0,
      onEvent: event => {
        onEvent?.(event)
        if (event.type === 'peer-lied') caughtAfter.push(client.peers().find(({ peerId }) => peerId === event.peerId)?.requests ?? 0)
        if (event.type === 'request-hedged') hedged++
        if (event.type === 'request-failed') failedRequests[event.code] = (failedRequests[event.code] ?? 0) + 1
      }
    })
    try {
      const tokenMs: number[] = []
      const gapMs: number[] = []
      const generating = new GeneratingClient(client, stories, (at, gap) => {
        tokenMs.push(at)
        gapMs.push(gap)
      })
      const faults = new FaultInjector(swarm, fault => onFault?.(fault))
      onStep?.(`Generating for ${minutes} min ...`)
      const seconds = await generateUnderFaults(generating, faults, schedule, { durationMs, onTick, signal })
      const { usualMs, added } = addedTimes(faults.injected, tokenMs, gapMs)
      const counted = Object.fromEntries(FAULT_KINDS.map(kind => [kind, faults.injected.filter(fault => fault.kind === kind).length])) as ChaosReport['faults']
      return {
        seed, seconds, tokens: generating.tokens, generations: generating.generations, usualMs, faults: counted, skipped: faults.skipped, differing: generating.differing,
        failures: generating.failures, added, memory: memory.growth(), failedRequests, hedged, audit, liars: faults.liars.length, caughtAfter
      }
    } finally {
      await client.close()
    }
  } finally {
    memory.stop()
    await swarm.stop()
  }
}

/** Returns the seconds that it took. Rejects with the signal's reason, or with what made a peer fail to start. */
async function generateUnderFaults (generating: GeneratingClient, faults: FaultInjector, schedule: Fault[], { durationMs, onTick, signal }: { durationMs: number, onTick: ChaosInit['onTick'], signal?: AbortSignal }): Promise<number> {
  const startedAt = performance.now()
  const seconds = (): number => (performance.now() - startedAt) / 1_000
  const end = new AbortController()
  // One of each fault that lasts.
  setMaxListeners(0, end.signal)
  // Not AbortSignal.timeout: Node 20 may collect that, and then it never fires.
  const timer = setTimeout(() => { end.abort() }, durationMs)
  const stop = (): void => { end.abort(signal?.reason) }
  signal?.addEventListener('abort', stop)
  if (signal?.aborted === true) stop()
  const ticking = setInterval(() => onTick?.(seconds(), durationMs / 1_000, generating.tokens), 1_000)
  try {
    // Faults end with the generation, so that nothing is done to a swarm that is being ended.
    await Promise.all([generating.run(end.signal), faults.follow(schedule, end.signal).catch((error: unknown) => {
      end.abort(error)
      throw error
    })])
  } finally {
    clearInterval(ticking)
    clearTimeout(timer)
    signal?.removeEventListener('abort', stop)
    end.abort()
  }
  signal?.throwIfAborted()
  return seconds()
}
