import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { table, Terminal } from '../../node/cli/terminal.js'
import { connectSwarm, createSwarmHost, type ExpertBatch, type ExpertCompute, serveExperts } from '../../swarm/index.js'
import { replyBytes, requestBytes } from '../../swarm/expert/codec.js'
import { scriptOptions } from '../script-options.js'
import { shownSpread, spread } from './figures.js'

const HELP = `npm run bench:wire [-- --json]

One request of one layer on our stream beside a raw TCP echo of the same bytes, between the same two processes, in turn. The peer answers at once (it computes
nothing), so what is left is serialising, Noise, yamux, framing.
`

const HIDDEN = 2816
const TOP_K = 8
const EXPERTS = 128
const MODEL_ID = '00'.repeat(32)
const ROUND_TRIPS = 4000
/** Until the compilers on both sides have seen enough of both paths. */
const WARM_UP = 2000

/** The other process: an expert peer whose compute is free, and a raw echo that answers `reply` bytes to every `request` bytes. */
async function servePeer (): Promise<void> {
  const host = await createSwarmHost({ dht: 'server' })
  const compute: ExpertCompute = {
    load: 0,
    capacity: 1,
    compute: async ({ hidden }) => ({ sum: hidden, queueMicros: 0, serviceMicros: 0 })
  }
  const serving = await serveExperts({
    host, modelId: MODEL_ID, hiddenSize: HIDDEN, experts: EXPERTS, layers: 1, blocks: [{ layer: 0, firstExpert: 0, experts: EXPERTS }], compute, version: 'bench'
  })
  const raw = createServer({ noDelay: true }, socket => {
    let sizes: { request: number, reply: Buffer } | undefined
    let pending = 0
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      if (sizes === undefined) { // the first eight bytes say what is echoed
        sizes = { request: chunk.readUInt32LE(0), reply: Buffer.alloc(chunk.readUInt32LE(4)) }
        return
      }
      pending += chunk.length
      for (; pending >= sizes.request; pending -= sizes.request) socket.write(sizes.reply)
    })
  })
  raw.listen(0, '127.0.0.1')
  await once(raw, 'listening')
  process.stdout.write(`${JSON.stringify({ address: host.addresses[0], port: (raw.address() as AddressInfo).port })}\n`)
  await once(process.stdin.resume(), 'end')
  raw.close()
  await serving.stop()
  await host.stop()
}

async function measure (): Promise<void> {
  const terminal = new Terminal(scriptOptions(HELP, {}))
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), 'peer'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [line] = await once(createInterface({ input: child.stdout }), 'line') as [string]
  const { address, port } = JSON.parse(line) as { address: string, port: number }
  const host = await createSwarmHost({ dht: 'client', bootstrap: [address] })
  const swarm = connectSwarm({ host, modelId: MODEL_ID, hiddenSize: HIDDEN, experts: EXPERTS, layers: [0], wire: 'fp16' })
  await swarm.ready()

  const rows: string[][] = []
  for (const tokens of [1, 16]) {
    const batch = batchOf(tokens)
    const raw = await RawEcho.open(port, requestBytes('fp16', tokens, tokens * TOP_K, HIDDEN), replyBytes('fp16', tokens, HIDDEN))
    const ours: number[] = []
    const theirs: number[] = []
    for (let i = -WARM_UP; i < ROUND_TRIPS; i++) {
      const figures = [await micros(() => raw.roundTrip()), await micros(() => swarm.dispatcher.dispatch(batch))]
      if (i < 0) continue
      theirs.push(figures[0])
      ours.push(figures[1])
    }
    raw.close()
    const [stream, tcp] = [spread(ours), spread(theirs)]
    const overhead = stream.median - tcp.median
    terminal.event('round-trip', { tokens, bytes: raw.request + raw.reply, streamMicros: stream, rawMicros: tcp, overheadMicros: overhead })
    rows.push([String(tokens), String(raw.request), String(raw.reply), shownSpread(tcp), shownSpread(stream), overhead.toFixed(0), (stream.median / tcp.median).toFixed(2)])
  }
  terminal.result(`${table(['tokens', 'request bytes', 'reply bytes', 'raw TCP µs', 'our stream µs', 'over raw µs', 'ratio'], rows)}\n
Medians with quartiles of ${ROUND_TRIPS} round trips each, hidden ${HIDDEN}, top-${TOP_K}, fp16, two processes on loopback, one of each in turn.\n`)
  await swarm.stop()
  await host.stop()
  child.stdin.end()
  await once(child, 'exit')
}

async function micros (run: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await run()
  return (performance.now() - start) * 1000
}

function batchOf (tokens: number): ExpertBatch {
  return {
    layer: 0,
    tokens,
    hidden: Float32Array.from({ length: tokens * HIDDEN }, (_, i) => Math.sin(i)),
    counts: new Uint16Array(tokens).fill(TOP_K),
    experts: Uint16Array.from({ length: tokens * TOP_K }, (_, i) => (i * 17) % EXPERTS),
    weights: new Float32Array(tokens * TOP_K).fill(1 / TOP_K)
  }
}

class RawEcho {
  private readonly payload: Buffer
  private received = 0
  private done?: () => void

  private constructor (private readonly socket: Socket, readonly request: number, readonly reply: number) {
    this.payload = Buffer.alloc(request, 7)
    socket.on('data', chunk => {
      this.received += chunk.length
      if (this.received < this.reply) return
      this.received = 0
      this.done?.()
    })
  }

  static async open (port: number, request: number, reply: number): Promise<RawEcho> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    await once(socket, 'connect')
    const head = Buffer.alloc(8)
    head.writeUInt32LE(request, 0)
    head.writeUInt32LE(reply, 4)
    socket.write(head)
    await new Promise(resolve => setTimeout(resolve, 50)) // the head must not share a chunk with the first request
    return new RawEcho(socket, request, reply)
  }

  async roundTrip (): Promise<void> {
    await new Promise<void>(resolve => {
      this.done = resolve
      this.socket.write(this.payload)
    })
  }

  close (): void { this.socket.destroy() }
}

if (process.argv[2] === 'peer') await servePeer()
else await measure()
