import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { Bundle, selectBlocks } from '../model-tools/index.js'
import { ExpertHost } from '../node/host/expert-host.js'
import { createSwarmHost } from '../swarm/index.js'
import { serveExperts } from '../swarm/peer.js'
import { type Lie, LyingCompute } from './lying-compute.js'

// node dist/scripts/lying-peer.js --model DIR --layers 0-5 --bootstrap ADDR --share 0.1 --seed 1 --lie noise
// A peer process that lies, for tests and chaos. Prints the line that `moeswarm peer --json` prints when it is ready; a line on stdin, such as
// `share 0.5`, changes what share of its replies are lies and is answered by a line with what it has done so far. Ends at SIGTERM.

const { values } = parseArgs({
  options: {
    model: { type: 'string' }, layers: { type: 'string' }, experts: { type: 'string' }, bootstrap: { type: 'string', multiple: true }, key: { type: 'string' },
    listen: { type: 'string', multiple: true }, announce: { type: 'string', multiple: true }, threads: { type: 'string', default: '1' },
    share: { type: 'string', default: '1' }, seed: { type: 'string', default: '1' }, lie: { type: 'string', default: 'noise' }, noise: { type: 'string', default: '0.1' }
  }
})
const bundle = await Bundle.open(values.model!)
const { config } = bundle
const blocks = selectBlocks(bundle, values.layers, values.experts)
const host = await createSwarmHost({ dht: 'server', keyFile: values.key, listen: values.listen, announce: values.announce, bootstrap: values.bootstrap })
const experts = await ExpertHost.load({ bundle, blocks, threads: Number(values.threads) })
const compute = new LyingCompute(experts, { share: Number(values.share), seed: Number(values.seed), lie: values.lie as Lie, noise: Number(values.noise) })
const serving = await serveExperts({ host, modelId: bundle.id, hiddenSize: config.hiddenSize, experts: config.experts, layers: config.layerTypes.length, blocks, compute, version: 'lying-peer/1' })

const print = (event: string, fields: object): void => { process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`) }
const counts = (): object => ({ share: compute.share, lies: compute.lies, replies: compute.replies })
print('ready', { peerId: host.peerId, addresses: host.addresses, model: bundle.id, blocks: blocks.map(({ layer, firstExpert, experts }) => ({ layer, firstExpert, experts })) })

createInterface({ input: process.stdin }).on('line', line => {
  const share = /^share (\S+)$/.exec(line)?.[1]
  if (share !== undefined) compute.share = Number(share)
  print('status', counts())
})
process.once('SIGTERM', () => {
  void (async () => {
    await serving.stop()
    await experts.stop()
    await host.stop()
    print('stopped', counts())
    process.stdout.write('', () => process.exit(0))
  })()
})
