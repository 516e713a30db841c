import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { type AddressInfo, createServer } from 'node:net'
import { createInterface, type Interface } from 'node:readline'
import type { Readable } from 'node:stream'
import { ROOT } from './demo-bundle.js'
import type { Endpoint, ProxyProcess } from './wan-proxy/index.js'

export const CLI = join(ROOT, 'dist', 'node', 'cli', 'main.js')

/** How long a peer may take until it is announced, in milliseconds. */
const READY_TIMEOUT_MS = 60_000

export interface PeerProcess {
  peerId: string
  addresses: string[]
  blocks: Array<{ layer: number, firstExpert: number, experts: number }>
  child: ChildProcess
  /** SIGTERM, then waits for the exit. Resolves with the exit code, null after a kill. */
  stop: (signal?: NodeJS.Signals) => Promise<number | null>
}

export interface PeerProcessOptions {
  /** How long it may take until it is announced. */
  readyMs?: number
  /** Kills it, ready or not. */
  signal?: AbortSignal
  /** Of Node, before the script. */
  nodeArgs?: readonly string[]
}

/** Starts `moeswarm peer` as a process of its own and waits until it is announced. */
export async function startPeerProcess (args: string[], options?: PeerProcessOptions): Promise<PeerProcess> {
  return await ready(spawn(process.execPath, [...options?.nodeArgs ?? [], CLI, 'peer', '--json', ...args], { stdio: ['ignore', 'pipe', 'pipe'] }), options)
}

/** Starts a peer that lies, see lying-peer.ts for its arguments and for what a line on its stdin does. */
export async function startLyingPeerProcess (args: string[], options?: PeerProcessOptions): Promise<PeerProcess> {
  return await ready(spawn(process.execPath, [...options?.nodeArgs ?? [], join(ROOT, 'dist', 'scripts', 'lying-peer.js'), ...args], { stdio: ['pipe', 'pipe', 'pipe'] }), options)
}

async function ready (child: ChildProcess & { stdout: Readable, stderr: Readable }, { readyMs = READY_TIMEOUT_MS, signal }: PeerProcessOptions = {}): Promise<PeerProcess> {
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => { errors = (errors + chunk.toString()).slice(-4000) })
  const exited = once(child, 'exit').then(([code]) => code as number | null)
  signal?.addEventListener('abort', () => { child.kill('SIGKILL') }, { once: true })
  if (signal?.aborted === true) child.kill('SIGKILL')
  const lines = createInterface({ input: child.stdout })
  const first = await firstLine(lines, exited, readyMs).catch((error: unknown) => {
    child.kill('SIGKILL')
    throw new Error(`a peer did not become ready:\n${errors}`, { cause: error })
  })
  return {
    peerId: first.peerId,
    addresses: first.addresses,
    blocks: first.blocks,
    child,
    stop: async (signal = 'SIGTERM') => {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal)
      return await exited
    }
  }
}

/** Starts a peer, by default an honest one, that others reach only through this link of the proxy. */
export async function startPeerBehindLink (args: string[], proxy: ProxyProcess, link: number, options?: PeerProcessOptions, start = startPeerProcess): Promise<PeerProcess> {
  const own: Endpoint = { host: '127.0.0.1', port: await freePort() }
  await proxy.connectTo(link, own)
  return await start([...args, '--listen', addressOf(own), '--announce', addressOf(proxy.links[link])], options)
}

function addressOf ({ host, port }: Endpoint): string {
  return `/ip4/${host}/tcp/${port}`
}

/** A port that nobody listened on a moment ago. */
export async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

interface Ready {
  event: string
  peerId: string
  addresses: string[]
  blocks: PeerProcess['blocks']
}

async function firstLine (lines: Interface, exited: Promise<number | null>, readyMs: number): Promise<Ready> {
  const line = await Promise.race([
    once(lines, 'line', { signal: AbortSignal.timeout(readyMs) }).then(([first]) => String(first)),
    exited.then(code => { throw new Error(`it ended with ${code}`) })
  ])
  const ready = JSON.parse(line) as Ready
  if (ready.event !== 'ready') throw new Error(`it said ${line}`)
  return ready
}
