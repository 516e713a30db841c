import { availableParallelism } from 'node:os'
import { AttentionClient } from '../../node/client/attention-client.js'
import { LocalExperts } from '../../node/client/local-experts.js'
import { argmax } from '../../node/client/sampler.js'
import { Terminal, table } from '../../node/cli/terminal.js'
import { ExpertHost } from '../../node/host/expert-host.js'
import { type Bundle, formatBytes } from '../../model-tools/index.js'
import { connectSwarm, createSwarmHost, type ExpertBatch, type ExpertDispatcher } from '../../swarm/index.js'
import { startPeerProcess } from '../peer-process.js'
import { count, scriptOptions } from '../script-options.js'
import { thisCpu } from './cpu.js'
import { shownSpread, spread } from './figures.js'
import { syntheticBundle } from './synthetic-models.js'

const USAGE = `npm run bench:clients -- [options]: the requests of many clients at one peer, beside those of one. What clients ask for is recorded first: decoding of the 26B
shape, each client its own text. Then each replays its own, layer after layer, the next when the last is answered, through libp2p streams.

  --layers <n>     layers of the 26B shape that the peer hosts (default: 4)
  --clients <a,b>  (default: 1,2,4,8,16)
  --tokens <n>     tokens that each client decodes (default: 24)
  --rounds <n>     (default: 5)
  --threads <n>    compute workers of the peer (default: all cores)
  --json
`

const PROMPT_TOKENS = 8
const READY_MS = 180_000

const options = scriptOptions(USAGE, {
  layers: { type: 'string', default: '4' },
  clients: { type: 'string', default: '1,2,4,8,16' },
  tokens: { type: 'string', default: '24' },
  rounds: { type: 'string', default: '5' },
  threads: { type: 'string', default: String(availableParallelism()) }
})
const counts = options.clients.split(',').map(text => count('clients', text))
const [layers, tokens, rounds] = [count('layers', options.layers), count('tokens', options.tokens), count('rounds', options.rounds)]
count('threads', options.threads)

/** What one client asked for while it decoded: a batch a layer, token after token. */
type Recording = ExpertBatch[]

await bench()

async function bench (): Promise<void> {
  const terminal = new Terminal(options)
  const progress = terminal.progress('Writing weights')
  const bundle = await syntheticBundle(layers, { onNote: text => { terminal.note(text) }, onProgress: ({ doneBytes, totalBytes }) => { progress(doneBytes, totalBytes) } })
  terminal.endProgress()
  terminal.note('Recording what the clients ask for ...')
  const recordings = await record(bundle, Math.max(...counts), tokens)
  terminal.note('Starting the peer ...')
  const peer = await startPeerProcess(['--model', bundle.dir, '--threads', options.threads, '--listen', '/ip4/127.0.0.1/tcp/0'], { readyMs: READY_MS })
  const { hiddenSize, experts, layerTypes } = bundle.config
  const clients: Array<{ dispatcher: ExpertDispatcher, stop: () => Promise<void> }> = []
  try {
    for (let i = 0; i < recordings.length; i++) {
      const host = await createSwarmHost({ dht: 'client', bootstrap: [peer.addresses[0]] })
      const swarm = connectSwarm({ host, modelId: bundle.id, hiddenSize, experts, layers: [...layerTypes.keys()], wire: 'fp16' })
      await swarm.ready()
      clients.push({ dispatcher: swarm.dispatcher, stop: async () => { await swarm.stop(); await host.stop() } })
    }
    const rates = new Map<number, number[]>(counts.map(count => [count, []]))
    for (let round = -1; round < rounds; round++) { // the first one warms up
      for (const count of counts) {
        const rate = await replay(clients.slice(0, count).map(({ dispatcher }) => dispatcher), recordings)
        if (round >= 0) rates.get(count)!.push(rate)
      }
    }
    const cpu = await thisCpu()
    const one = spread(rates.get(counts[0])!).median
    terminal.result(`${table(['clients', 'requests/s', `of ${counts[0]} client${counts[0] === 1 ? '' : 's'}`], [...rates].map(([count, values]) => [
      String(count), shownSpread(spread(values)), (spread(values).median / one).toFixed(2)
    ]))}\n\nA request is one token at one layer: ${bundle.config.topK} experts of ${experts}. ${formatBytes(Object.values(bundle.manifest.files).reduce((sum, { bytes }) => sum + bytes, 0))} ${bundle.manifest.quant} bundle, ${
      options.threads} compute workers, client and peer on one machine: ${cpu.model}, ${cpu.features.join(' ')}.\n`)
    for (const [clients, values] of rates) terminal.event('throughput', { clients, requestsPerSecond: spread(values), ratio: spread(values).median / one })
  } finally {
    await Promise.all(clients.map(async ({ stop }) => { await stop() }))
    await peer.stop()
  }
}

/** The decoding requests of so many clients with the experts in this process, which lets go of them at the end. */
async function record (bundle: Bundle, clients: number, tokens: number): Promise<Recording[]> {
  const threads = availableParallelism()
  const host = await ExpertHost.load({ bundle, blocks: bundle.blocks, threads })
  const local = new LocalExperts(host)
  let recording: Recording = []
  const dispatcher: ExpertDispatcher = {
    dispatch: async (batch, signal) => {
      recording.push(batch)
      return await local.dispatch(batch, signal)
    }
  }
  const client = await AttentionClient.load({ bundle, dispatcher, threads })
  try {
    const recordings: Recording[] = []
    for (let i = 0; i < clients; i++) {
      const cache = client.newCache()
      const prompt = Array.from({ length: PROMPT_TOKENS }, (_, k) => (7919 * (i + 1) + 104_729 * k) % bundle.config.vocabSize)
      let { logits } = await client.lap(prompt, cache)
      recording = []
      for (let t = 0; t < tokens; t++) logits = (await client.lap([argmax(logits)], cache)).logits
      recordings.push(recording)
    }
    return recordings
  } finally {
    await client.close()
    await host.stop()
  }
}

/** Requests a second of all clients together, while all of them are at work. */
async function replay (dispatchers: ExpertDispatcher[], recordings: Recording[]): Promise<number> {
  const start = performance.now()
  let answered = 0
  let counted: { answered: number, ms: number } | undefined
  await Promise.all(dispatchers.map(async (dispatcher, i) => {
    for (const batch of recordings[i]) {
      await dispatcher.dispatch(batch)
      answered++
    }
    counted ??= { answered, ms: performance.now() - start }
  }))
  return counted!.answered / counted!.ms * 1000
}
