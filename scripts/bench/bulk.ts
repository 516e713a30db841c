import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { table, Terminal } from '../../node/cli/terminal.js'
import { BLOCK_CHUNK_BYTES, type BlockSink, connectBlocks, connectSwarm, type ContentFile, createSwarmHost, type ExpertBatch, serveBlocks, serveExperts } from '../../swarm/index.js'
import { freePort } from '../peer-process.js'
import { scriptOptions } from '../script-options.js'
import { startProxyProcess } from '../wan-proxy/index.js'

const HELP = `npm run bench:bulk [-- --json]

One token's request of one layer without and with a transfer of blocks from the same peer, over links of several kinds. The peer computes nothing: what differs
is what hidden states wait for.
`

const HIDDEN = 2816
const TOP_K = 8
const EXPERTS = 128
const FILE_BYTES = 96 * BLOCK_CHUNK_BYTES
const MODEL_ID = createHash('sha256').update('{}').digest('hex')
const REQUESTS = 200
const LINKS = [{ roundTripMs: 1, mbitPerSecond: Infinity }, { roundTripMs: 18, mbitPerSecond: Infinity }, { roundTripMs: 18, mbitPerSecond: 100 }, { roundTripMs: 18, mbitPerSecond: 20 }]

async function servePeer (port: number, announced: number): Promise<void> {
  const host = await createSwarmHost({ dht: 'server', listen: [`/ip4/127.0.0.1/tcp/${port}`], announce: [`/ip4/127.0.0.1/tcp/${announced}`] })
  const serving = await serveExperts({
    host,
    modelId: MODEL_ID,
    hiddenSize: HIDDEN,
    experts: EXPERTS,
    layers: 1,
    blocks: [{ layer: 0, firstExpert: 0, experts: EXPERTS }],
    compute: { load: 0, capacity: 1, compute: async ({ hidden }) => ({ sum: hidden, queueMicros: 0, serviceMicros: 0 }) },
    version: 'bench'
  })
  const bytes = randomBytes(BLOCK_CHUNK_BYTES)
  const digest = createHash('sha256')
  for (let at = 0; at < FILE_BYTES; at += BLOCK_CHUNK_BYTES) digest.update(bytes)
  const sha256 = digest.digest('hex')
  const seeding = await serveBlocks({
    host,
    source: { modelId: MODEL_ID, manifest: new TextEncoder().encode('{}'), bytesOf: asked => asked === sha256 ? FILE_BYTES : undefined, read: async (_, offset, length) => bytes.subarray(offset % BLOCK_CHUNK_BYTES, offset % BLOCK_CHUNK_BYTES + length) }
  })
  process.stdout.write(`${JSON.stringify({ address: host.addresses[0], sha256, chunk: createHash('sha256').update(bytes).digest('hex') })}\n`)
  await once(process.stdin.resume(), 'end')
  await seeding.stop()
  await serving.stop()
  await host.stop()
}

async function measure (): Promise<void> {
  const terminal = new Terminal(scriptOptions(HELP, {}))
  const port = await freePort()
  const proxy = await startProxyProcess([{ to: { host: '127.0.0.1', port } }])
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), 'peer', String(port), String(proxy.links[0].port)], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [line] = await once(createInterface({ input: child.stdout }), 'line') as [string]
  const { address, sha256, chunk } = JSON.parse(line) as { address: string, sha256: string, chunk: string }
  const host = await createSwarmHost({ dht: 'client', bootstrap: [address] })
  const swarm = connectSwarm({ host, modelId: MODEL_ID, hiddenSize: HIDDEN, experts: EXPERTS, layers: [0], wire: 'fp16' })
  await swarm.ready()
  const blocks = connectBlocks({ host, modelId: MODEL_ID })
  const file: ContentFile = { path: 'a.bin', bytes: FILE_BYTES, sha256, chunks: new Array<string>(FILE_BYTES / BLOCK_CHUNK_BYTES).fill(chunk) }
  const times = async (going = (): boolean => true): Promise<number[]> => {
    const took: number[] = []
    for (let i = 0; i < REQUESTS && going(); i++) {
      const start = performance.now()
      await swarm.dispatcher.dispatch(batch())
      took.push(performance.now() - start)
    }
    return took.sort((a, b) => a - b)
  }
  const rows: string[][] = []
  for (const { roundTripMs, mbitPerSecond } of LINKS) {
    await proxy.set(0, { delayMs: roundTripMs / 2, mbitPerSecond })
    await times()
    const alone = await times()
    const stopped = new AbortController()
    let [bytes, fetching, startedAt] = [0, true, 0]
    const transfer = blocks.fetchFiles([file], sink(), {
      signal: stopped.signal,
      onProgress: ({ doneBytes }) => {
        bytes = doneBytes
        startedAt ||= performance.now()
      }
    }).catch(() => {}).finally(() => { fetching = false })
    while (startedAt === 0 && fetching) await new Promise(resolve => setTimeout(resolve, 5))
    const firstBytes = bytes
    const beside = await times(() => fetching)
    const mibPerSecond = (bytes - firstBytes) / 2 ** 20 / ((performance.now() - startedAt) / 1_000)
    stopped.abort()
    await transfer
    const at = (sorted: number[], share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
    terminal.event('link', { roundTripMs, mbitPerSecond, requests: beside.length, p50Ms: [at(alone, 0.5), at(beside, 0.5)], p95Ms: [at(alone, 0.95), at(beside, 0.95)], mibPerSecond })
    rows.push([`${roundTripMs} ms`, mbitPerSecond === Infinity ? 'none' : `${mbitPerSecond} Mbit/s`, at(alone, 0.5).toFixed(1), at(beside, 0.5).toFixed(1), at(alone, 0.95).toFixed(1), at(beside, 0.95).toFixed(1), mibPerSecond.toFixed(1)])
  }
  terminal.result(`${table(['RTT', 'cap', 'p50 alone, ms', 'p50 beside bulk', 'p95 alone', 'p95 beside bulk', 'bulk, MiB/s'], rows)}\n
A request of one token (hidden ${HIDDEN}, fp16, ${REQUESTS} of them) without and with a transfer of blocks from the same peer on the same connection.\n`)
  await blocks.stop()
  await swarm.stop()
  await host.stop()
  child.stdin.end()
  await once(child, 'exit')
  await proxy.stop()
}

/** Takes what comes and keeps nothing. */
function sink (): BlockSink {
  return {
    expect: async () => {},
    open: async ({ chunks }) => ({ have: new Uint8Array(chunks.length), write: async () => {}, finish: async () => {}, close: async () => {} })
  }
}

function batch (): ExpertBatch {
  return {
    layer: 0,
    tokens: 1,
    hidden: Float32Array.from({ length: HIDDEN }, (_, i) => Math.sin(i)),
    counts: Uint16Array.of(TOP_K),
    experts: Uint16Array.from({ length: TOP_K }, (_, i) => i * 16),
    weights: new Float32Array(TOP_K).fill(1 / TOP_K)
  }
}

if (process.argv[2] === 'peer') await servePeer(Number(process.argv[3]), Number(process.argv[4]))
else await measure()
