import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { table, Terminal } from '../../node/cli/terminal.js'
import { connectSwarm, createSwarmHost, type ExpertBatch, serveExperts, type SwarmEvent } from '../../swarm/index.js'
import { count, scriptOptions } from '../script-options.js'
import { spread } from './figures.js'

const HELP = `npm run bench:liveness [-- --rounds 5 --json]

How long until a client notices that a peer's process was stopped (SIGSTOP, which looks like a cable that was cut) or killed, while a request is in flight and
while nothing is. Real processes, one peer, one client.

  --rounds <n>  of each case, all at a time (default: 5)
`

const HIDDEN = 256
const EXPERTS = 8
const MODEL_ID = '00'.repeat(32)
/** Until the client has measured its peer. */
const WARM_UP = 30
/** The interval of pings: a stop falls anywhere in it. */
const PHASE_MS = 5_000
const PATIENCE_MS = 60_000

const BATCH: ExpertBatch = {
  layer: 0, tokens: 1, hidden: new Float32Array(HIDDEN).fill(0.5), counts: Uint16Array.of(2), experts: Uint16Array.of(1, 5), weights: Float32Array.of(0.5, 0.5)
}

async function servePeer (): Promise<void> {
  const host = await createSwarmHost({ dht: 'server' })
  const compute = { load: 0, capacity: 1, compute: async ({ hidden }: ExpertBatch) => ({ sum: hidden, queueMicros: 0, serviceMicros: 0 }) }
  const serving = await serveExperts({ host, modelId: MODEL_ID, hiddenSize: HIDDEN, experts: EXPERTS, layers: 1, blocks: [{ layer: 0, firstExpert: 0, experts: EXPERTS }], compute, version: 'bench' })
  process.stdout.write(`${host.addresses[0]}\n`)
  await once(process.stdin.resume(), 'end')
  await serving.stop()
  await host.stop()
}

/** Milliseconds from the fault to the event that tells of it. */
type Measure = (peer: Peer) => Promise<number>

/** A peer's process and a client that has a stream open to it. */
class Peer {
  private readonly watchers = new Set<(event: SwarmEvent) => void>()
  private constructor (readonly child: ChildProcess, private readonly host: Awaited<ReturnType<typeof createSwarmHost>>, readonly swarm: ReturnType<typeof connectSwarm>) {}

  static async start (): Promise<Peer> {
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url), 'peer'], { stdio: ['pipe', 'pipe', 'inherit'] })
    const [address] = await once(createInterface({ input: child.stdout }), 'line') as [string]
    const host = await createSwarmHost({ dht: 'client', bootstrap: [address] })
    const swarm = connectSwarm({ host, modelId: MODEL_ID, hiddenSize: HIDDEN, experts: EXPERTS, layers: [0], patienceMs: 1, onEvent: event => { for (const watch of peer.watchers) watch(event) } })
    const peer: Peer = new Peer(child, host, swarm)
    await swarm.ready()
    for (let i = 0; i < WARM_UP; i++) await swarm.dispatcher.dispatch(BATCH)
    return peer
  }

  async until (type: SwarmEvent['type']): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => { reject(new Error(`no ${type} within ${PATIENCE_MS / 1_000} s`)) }, PATIENCE_MS)
      const watch = (event: SwarmEvent): void => {
        if (event.type !== type) return
        clearTimeout(timer)
        this.watchers.delete(watch)
        resolve()
      }
      this.watchers.add(watch)
    })
  }

  async end (): Promise<void> {
    await this.swarm.stop()
    await this.host.stop()
    this.child.kill('SIGKILL')
  }
}

async function inFlight (peer: Peer, signal: NodeJS.Signals): Promise<number> {
  const noticed = peer.until('request-failed')
  const startedAt = performance.now()
  peer.child.kill(signal)
  peer.swarm.dispatcher.dispatch(BATCH).catch(() => { /* nobody else holds the experts */ })
  await noticed
  return performance.now() - startedAt
}

async function idle (peer: Peer, signal: NodeJS.Signals): Promise<number> {
  const noticed = peer.until('peer-lost')
  const startedAt = performance.now()
  peer.child.kill(signal)
  await noticed
  return performance.now() - startedAt
}

const CASES: Array<{ fault: string, state: string, measure: Measure }> = [
  { fault: 'stopped, or cut off', state: 'a request in flight', measure: async peer => await inFlight(peer, 'SIGSTOP') },
  { fault: 'stopped, or cut off', state: 'idle', measure: async peer => await idle(peer, 'SIGSTOP') },
  { fault: 'killed', state: 'a request in flight', measure: async peer => await inFlight(peer, 'SIGKILL') },
  { fault: 'killed', state: 'idle', measure: async peer => await idle(peer, 'SIGKILL') }
]

async function measure (): Promise<void> {
  const options = scriptOptions(HELP, { rounds: { type: 'string', default: '5' } })
  const rounds = count('rounds', options.rounds)
  const terminal = new Terminal(options)
  const rows: string[][] = []
  for (const { fault, state, measure: take } of CASES) {
    const noticedMs = await Promise.all(Array.from({ length: rounds }, async (_, round) => {
      const peer = await Peer.start()
      try {
        // At another point of the ping interval each time.
        await sleep(PHASE_MS * round / rounds)
        return await take(peer)
      } finally {
        await peer.end()
      }
    }))
    const { median } = spread(noticedMs)
    const [least, most] = [Math.min(...noticedMs), Math.max(...noticedMs)]
    terminal.event('noticed', { fault, state, rounds, medianMs: median, leastMs: least, mostMs: most })
    rows.push([fault, state, (median / 1_000).toFixed(3), (least / 1_000).toFixed(3), (most / 1_000).toFixed(3)])
  }
  terminal.result(`${table(['the peer is', 'while', 'median s', 'least s', 'most s'], rows)}\n
Until a client notices, ${rounds} rounds each, the peer a process of its own on loopback. While a request is in flight, the replica is asked then.\n`)
}

if (process.argv[2] === 'peer') await servePeer()
else await measure()
