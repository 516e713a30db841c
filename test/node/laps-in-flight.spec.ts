import assert from 'node:assert/strict'
import { AttentionClient, type LapResult } from '../../node/client/attention-client.js'
import { RING_SLACK, type KvCache } from '../../node/client/kv-cache.js'
import { LocalExperts } from '../../node/client/local-experts.js'
import { ExpertHost } from '../../node/host/expert-host.js'
import { Bundle } from '../../model-tools/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { Delayed } from '../fixtures/delayed.js'
import { rowsOf } from '../fixtures/rows-of.js'
import { reference } from '../fixtures/reference.js'

const RTT_MS = 5

describe('laps of one sequence in flight, f32', function () {
  this.timeout(120_000)
  let host: ExpertHost
  let client: AttentionClient
  let dispatcher: Delayed
  let ids: number[]

  before(async () => {
    const bundle = await Bundle.open(await demoBundle('f32'))
    host = await ExpertHost.load({ bundle, blocks: bundle.blocks, threads: 2 })
    dispatcher = new Delayed(new LocalExperts(host), RTT_MS)
    client = await AttentionClient.load({ bundle, dispatcher, threads: 1 })
    ids = [...reference.long.ids, ...reference.long.ids]
    assert.ok(ids.length > bundle.config.slidingWindow + RING_SLACK, 'rings are written round')
  })

  beforeEach(() => {
    dispatcher.onDispatch = () => {}
    dispatcher.mostInFlight = 0
  })

  after(async () => {
    await client.close()
    await host.stop()
  })

  const chunksOf = (length: number): number[][] => Array.from({ length: Math.ceil(ids.length / length) }, (_, i) => ids.slice(i * length, (i + 1) * length))

  async function oneByOne (chunks: number[][], cache: KvCache): Promise<LapResult[]> {
    const results: LapResult[] = []
    for (const chunk of chunks) results.push(await client.lap(chunk, cache, { wanted: 'all' }))
    return results
  }

  for (const length of [7, 16, 100, 200]) {
    it(`give the bits of laps one by one, in chunks of ${length}, all in flight`, async () => {
      const chunks = chunksOf(length)
      const straight = client.newCache()
      const expected = await oneByOne(chunks, straight)
      assert.equal(dispatcher.mostInFlight, 1)
      const cache = client.newCache()
      const results = await Promise.all(chunks.map(async chunk => await client.lap(chunk, cache, { wanted: 'all' })))
      assert.ok(dispatcher.mostInFlight > 1, 'they overlapped')
      assert.deepEqual(results.map(rowsOf), expected.map(rowsOf))
      assert.equal(cache.length, ids.length)
      assert.deepEqual(rowsOf(await client.lap([5], cache)), rowsOf(await client.lap([5], straight)), 'and go on alike')
    })
  }

  it('fail with the one before them, and can be tried again with the same result', async () => {
    const chunks = chunksOf(40)
    const straight = client.newCache()
    const expected = await oneByOne(chunks, straight)
    const cache = client.newCache()
    const failing = chunks.length - 4
    const early = await Promise.all(chunks.slice(0, failing).map(async chunk => await client.lap(chunk, cache, { wanted: 'all' })))
    assert.deepEqual(early.map(rowsOf), expected.slice(0, failing).map(rowsOf))
    const cause = new Error('nobody holds these experts')
    let last = 0
    dispatcher.onDispatch = ({ layer }) => {
      // The first of the late chunks at the last layer, when those behind it have written what they could.
      if (layer === client.config.layerTypes.length - 1 && last++ === 0) throw cause
    }
    const ended = await Promise.allSettled(chunks.slice(failing).map(async chunk => await client.lap(chunk, cache, { wanted: 'all' })))
    for (const end of ended) assert.deepEqual(end, { status: 'rejected', reason: cause })
    assert.equal(cache.length, failing * 40)
    dispatcher.onDispatch = () => {}
    const late = await Promise.all(chunks.slice(failing).map(async chunk => await client.lap(chunk, cache, { wanted: 'all' })))
    assert.deepEqual(late.map(rowsOf), expected.slice(failing).map(rowsOf))
  })

  it('end when they are aborted, each with the reason', async () => {
    const cache = client.newCache()
    const abort = new AbortController()
    const laps = chunksOf(16).map(async chunk => await client.lap(chunk, cache, { wanted: 'none', signal: abort.signal }))
    setTimeout(() => { abort.abort(new Error('enough')) }, RTT_MS)
    for (const end of await Promise.allSettled(laps)) assert.equal(end.status, 'rejected')
    assert.equal(cache.length, 0)
  })

  it('return the states that the head reads, of the rows that were wanted', async () => {
    const H = client.config.hiddenSize
    const part = ids.slice(0, 20)
    const all = await client.lap(part, client.newCache(), { wanted: 'all' })
    assert.equal(all.states.length, 20 * H)
    const last = await client.lap(part, client.newCache())
    assert.equal(last.states.length, H)
    last.states.forEach((x, i) => { assert.ok(Math.abs(x - all.states[19 * H + i]) < 1e-5) })
    const none = await client.lap(part, client.newCache(), { wanted: 'none' })
    assert.deepEqual([none.states.length, none.logits.length], [0, 0])
  })
})
