import assert from 'node:assert/strict'
import { ApiServer, SwarmClient, SwarmPeer } from '../../../node/index.js'
import { demoBundle } from '../../../scripts/demo-bundle.js'
import { until } from '../../fixtures/served-swarm.js'

interface Health { status: string, missing_layers: number[], copied_layers: number[] }

const LAYERS = [0, 1, 2, 3, 4, 5]

describe('the health of a server whose peers are gone', function () {
  this.timeout(120_000)

  for (const { name, copyMemory, localLayers, status, missing, copied } of [
    { name: 'is bad where nobody has the experts', copyMemory: 0, localLayers: [], status: 503, missing: LAYERS, copied: [] },
    { name: 'is that of the layers that are not local', copyMemory: 0, localLayers: [0, 1], status: 503, missing: [2, 3, 4, 5], copied: [] },
    { name: 'is good where this machine\'s bundle has the experts', copyMemory: undefined, localLayers: [0], status: 200, missing: [], copied: [1, 2, 3, 4, 5] }
  ]) {
    it(name, async () => {
      const model = await demoBundle('f32')
      const peer = await SwarmPeer.start({ model, threads: 1 })
      const client = await SwarmClient.open({ model, bootstrap: [peer.addresses[0]], threads: 1, copyMemory, localLayers, patienceMs: 50 })
      const server = await ApiServer.start({ client, port: 0 })
      const health = async (): Promise<Health> => await (await fetch(`${server.url}/health`)).json() as Health
      try {
        assert.deepEqual(await health().then(({ missing_layers: none, copied_layers: neither }) => [none, neither]), [[], []])
        await peer.stop()
        await until(() => client.livePeers().length === 0)
        const response = await fetch(`${server.url}/health`)
        assert.equal(response.status, status)
        const { missing_layers: missingLayers, copied_layers: copiedLayers } = await response.json() as Health
        assert.deepEqual([missingLayers, copiedLayers], [missing, copied])
        const answer = await fetch(`${server.url}/v1/completions`, { method: 'POST', body: JSON.stringify({ prompt: 'One day', max_tokens: 2 }) })
        assert.equal(answer.status, status, 'and the texts are as it says')
      } finally {
        await server.stop(0)
        await client.close()
        await peer.stop()
      }
    })
  }
})
