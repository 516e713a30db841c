import assert from 'node:assert/strict'
import { AttentionClient, type LapResult } from '../../node/client/attention-client.js'
import type { KvCache } from '../../node/client/kv-cache.js'
import { LapProfile } from '../../node/client/lap-profile.js'
import { LocalExperts } from '../../node/client/local-experts.js'
import { prefill, prefillChunks } from '../../node/client/prefill.js'
import { ExpertHost } from '../../node/host/expert-host.js'
import { Bundle } from '../../model-tools/index.js'
import { demoBundle } from '../../scripts/demo-bundle.js'
import { Delayed } from '../fixtures/delayed.js'
import { rowsOf } from '../fixtures/rows-of.js'
import { reference } from '../fixtures/reference.js'

describe('a prompt\'s chunks', () => {
  for (const [length, expected] of [[1, [1]], [16, [16]], [17, [9, 8]], [64, [16, 16, 16, 16]], [100, [25, 25, 25, 25]], [512, Array<number>(8).fill(64)], [65, [17, 17, 17, 14]]] as const) {
    it(`of ${length} tokens are ${expected.length}, of about equal length`, () => {
      const tokens = Array.from({ length }, (_, i) => i)
      const chunks = prefillChunks(tokens)
      assert.deepEqual(chunks.map(chunk => chunk.length), expected)
      assert.deepEqual(chunks.flat(), tokens)
    })
  }
})

describe('prefill, f32', function () {
  this.timeout(120_000)
  let host: ExpertHost
  let client: AttentionClient
  let dispatcher: Delayed
  let ids: number[]

  before(async () => {
    const bundle = await Bundle.open(await demoBundle('f32'))
    host = await ExpertHost.load({ bundle, blocks: bundle.blocks, threads: 2 })
    dispatcher = new Delayed(new LocalExperts(host), 0)
    client = await AttentionClient.load({ bundle, dispatcher, threads: 1 })
    ids = Array.from({ length: 504 }, (_, i) => reference.long.ids[i % reference.long.ids.length])
  })

  beforeEach(() => {
    dispatcher.rttMs = 20
    dispatcher.mostInFlight = 0
    dispatcher.onDispatch = () => {}
  })

  after(async () => {
    await client.close()
    await host.stop()
  })

  async function read (cache: KvCache, signal?: AbortSignal): Promise<{ result: LapResult, done: number[] }> {
    const reading = prefill(client, cache, ids, { profile: new LapProfile(), signal })
    const done: number[] = []
    for (;;) {
      const step = await reading.next()
      if (step.done === true) return { result: step.value, done }
      assert.equal(step.value.total, ids.length)
      done.push(step.value.done)
    }
  }

  it('gives the bits of the chunks one by one, tells its progress in order, and has several chunks under way', async () => {
    const cache = client.newCache()
    let expected: LapResult | undefined
    for (const chunk of prefillChunks(ids)) expected = await client.lap(chunk, cache)
    const straight = await client.lap([5], cache)
    dispatcher.mostInFlight = 0
    const piped = client.newCache()
    const { result, done } = await read(piped)
    assert.deepEqual(rowsOf(result), rowsOf(expected!))
    assert.deepEqual(rowsOf(await client.lap([5], piped)), rowsOf(straight))
    assert.deepEqual(done, [1, 2, 3, 4, 5, 6, 7, 8].map(chunk => chunk * 63))
    assert.ok(dispatcher.mostInFlight >= 3, `${dispatcher.mostInFlight} in flight`)
  })

  it('asks the experts of the last layer for the last token alone, whose logits are those of a lap that asks for all', async () => {
    const asked = new Map<number, number>()
    dispatcher.onDispatch = ({ layer, tokens }) => { asked.set(layer, (asked.get(layer) ?? 0) + tokens) }
    const { result } = await read(client.newCache())
    assert.deepEqual([...asked].sort(([a], [b]) => a - b), [[0, 504], [1, 504], [2, 504], [3, 504], [4, 504], [5, 1]])
    const cache = client.newCache()
    let whole: LapResult | undefined
    for (const chunk of prefillChunks(ids)) whole = await client.lap(chunk, cache, { wanted: 'all' })
    const last = whole!.logits.subarray(-client.config.vocabSize)
    result.logits.forEach((logit, id) => { assert.ok(Math.abs(logit - last[id]) < 1e-3, `${logit} for ${last[id]}`) })
  })

  it('fails with what a chunk failed with, and leaves nothing in flight', async () => {
    const cause = new Error('nobody holds these experts')
    let batches = 0
    dispatcher.onDispatch = () => { if (++batches === 10) throw cause }
    const cache = client.newCache()
    await assert.rejects(read(cache), cause)
    assert.equal(dispatcher.inFlight, 0)
    cache.truncate(0)
  })

  it('ends with the reason of an abort', async () => {
    const abort = new AbortController()
    dispatcher.onDispatch = ({ layer }) => { if (layer === 2) abort.abort(new Error('enough')) }
    await assert.rejects(read(client.newCache(), abort.signal), error => error === abort.signal.reason || (error as Error).name === 'AbortError')
    assert.equal(dispatcher.inFlight, 0)
  })

  it('leaves nothing in flight when it is left', async () => {
    const cache = client.newCache()
    for await (const event of prefill(client, cache, ids, { profile: new LapProfile() })) {
      assert.equal(event.done, 63)
      break
    }
    assert.equal(dispatcher.inFlight, 0)
    cache.truncate(0)
  })
})
