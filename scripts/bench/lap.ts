import { Terminal, table } from '../../node/cli/terminal.js'
import { type Generation, SwarmClient } from '../../node/index.js'
import type { LapTimes } from '../../node/client/lap-profile.js'
import { demoBundle } from '../demo-bundle.js'
import { type PeerProcess, startPeerProcess } from '../peer-process.js'
import { scriptOptions } from '../script-options.js'
import { shownSpread, spread } from './figures.js'

const HELP = `npm run bench:lap [-- --json]

A decoding lap of the demo model through three peer processes beside the all-local run, in turn.
`

const PROMPT = 'Once upon a time, there was a little girl named Lily. She'
const TOKENS = 96
const ROUNDS = 7
const PEER_LAYERS = ['0-3', '2-5', '0-1,4-5']
const ROWS: Array<keyof LapTimes> = ['total', 'embedding', 'turn', 'attention', 'send', 'serialise', 'denseMlp', 'network', 'queue', 'experts', 'combine', 'head', 'other']

const terminal = new Terminal(scriptOptions(HELP, {}))
const model = await demoBundle('q8')
const peers: PeerProcess[] = []
const clients: Record<string, SwarmClient> = {}
try {
  for (const layers of PEER_LAYERS) {
    peers.push(await startPeerProcess(['--model', model, '--layers', layers, '--threads', '1', ...peers.slice(0, 1).flatMap(peer => ['--bootstrap', peer.addresses[0]])]))
  }
  const bootstrap = [peers[0].addresses[0]]
  clients['all local'] = await SwarmClient.open({ model, localLayers: 'all', reusePrefixes: false })
  clients['three peers, fp16'] = await SwarmClient.open({ model, bootstrap, wire: 'fp16', reusePrefixes: false })
  clients['three peers, fp32'] = await SwarmClient.open({ model, bootstrap, wire: 'fp32', reusePrefixes: false })
  const laps: Record<string, LapTimes[]> = {}
  for (let round = 0; round <= ROUNDS; round++) { // the first round warms up
    for (const [name, client] of Object.entries(clients)) {
      const { lap } = await generate(client)
      if (round > 0) (laps[name] ??= []).push(lap)
    }
  }
  const names = Object.keys(laps)
  const figure = (name: string, row: keyof LapTimes): ReturnType<typeof spread> => spread(laps[name].map(lap => lap[row]))
  for (const name of names) terminal.event('lap', { name, ...Object.fromEntries(ROWS.map(row => [row, figure(name, row)])) })
  const base = figure(names[0], 'total').median
  terminal.result(`${table(['ms a lap', ...names], [
    ...ROWS.map(row => [row, ...names.map(name => shownSpread(figure(name, row), 2))]),
    ['times all local', ...names.map(name => (figure(name, 'total').median / base).toFixed(2))]
  ])}\n\nMedians with quartiles of ${ROUNDS} runs of ${TOKENS} tokens each, alternating; q8 demo model, 6 layers; client and peers share this machine.\n`)
} finally {
  for (const client of Object.values(clients)) await client.close()
  await Promise.all(peers.map(async peer => await peer.stop()))
}

async function generate (client: SwarmClient): Promise<Generation> {
  const events = client.generate(client.encode(PROMPT), { maxTokens: TOKENS, stopTokenIds: [], sampling: { temperature: 0, topK: 0, topP: 1, seed: 0 }, draft: 'none' })
  for await (const event of events) if (event.type === 'done') return event.generation
  throw new Error('the generation ended without a result')
}
