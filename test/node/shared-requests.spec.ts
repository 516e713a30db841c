import assert from 'node:assert/strict'
import { SharedRequests } from '../../node/client/shared-requests.js'
import type { DispatchResult, ExpertBatch, ExpertDispatcher } from '../../swarm/index.js'

const H = 2

/** Answers when it is told to; each row's sum is its hidden state, doubled. */
class Held implements ExpertDispatcher {
  readonly asked: ExpertBatch[] = []
  readonly signals: Array<AbortSignal | undefined> = []
  readonly #answers: Array<(error?: Error) => void> = []

  async dispatch (batch: ExpertBatch, signal?: AbortSignal): Promise<DispatchResult> {
    this.asked.push(batch)
    this.signals.push(signal)
    return await new Promise((resolve, reject) => {
      this.#answers.push(error => {
        if (error === undefined) resolve({ sum: batch.hidden.map(value => 2 * value), unchecked: ['a peer'], timing: { encodeMs: 1, networkMs: 1, queueMs: 0, serviceMs: 0, decodeMs: 0, combineMs: 0 } })
        else reject(error)
      })
    })
  }

  answer (error?: Error): void { for (const answer of this.#answers.splice(0)) answer(error) }
}

function batch (...rows: number[]): ExpertBatch {
  return {
    layer: 3, tokens: rows.length, hidden: Float32Array.from(rows.flatMap(row => [row, -row])),
    counts: new Uint16Array(rows.length).fill(1), experts: Uint16Array.from(rows), weights: new Float32Array(rows.length).fill(1)
  }
}

describe('requests of several sequences for a layer', () => {
  it('are sent as one, and each gets its own rows', async () => {
    const [requests, held] = [new SharedRequests(), new Held()]
    const sent: string[] = []
    const pending = [batch(1), batch(2, 3), batch(4)].map(async (one, i) => await requests.add(one, held, (sending, last) => { sent.push(`${sending.toMs >= sending.fromMs ? 'sent' : ''} ${i} ${last}`) }))
    assert.equal(held.asked.length, 0)
    requests.send()
    requests.send()
    assert.deepEqual(held.asked.map(({ tokens, hidden, experts }) => [tokens, [...hidden], [...experts]]), [[4, [1, -1, 2, -2, 3, -3, 4, -4], [1, 2, 3, 4]]])
    assert.deepEqual(sent, ['sent 0 false', 'sent 1 false', 'sent 2 true'])
    held.answer()
    const results = await Promise.all(pending)
    assert.deepEqual(results.map(({ sum }) => [...sum]), [[2, -2], [4, -4, 6, -6], [8, -8]])
    assert.deepEqual(results.map(({ unchecked }) => unchecked), [['a peer'], ['a peer'], ['a peer']])
    assert.deepEqual(results.map(({ timing }) => timing.encodeMs), [0, 0, 1])
    assert.equal(results.every(({ sum }) => sum.length % H === 0), true)
  })

  it('are named after all texts that have a part in them', async () => {
    const [requests, held] = [new SharedRequests(), new Held()]
    const pending = [['a'], undefined, ['b'], ['a']].map(async traceIds => await requests.add({ ...batch(1), traceIds }, held, () => {}))
    requests.send()
    assert.deepEqual(held.asked[0].traceIds, ['a', 'b'])
    held.answer()
    await Promise.all(pending)
  })

  it('of different dispatchers do not meet', async () => {
    const [requests, one, other] = [new SharedRequests(), new Held(), new Held()]
    const pending = [requests.add(batch(1), one, () => {}), requests.add(batch(2), other, () => {})]
    requests.send()
    assert.deepEqual([one.asked.length, other.asked.length], [1, 1])
    one.answer()
    other.answer()
    assert.deepEqual((await Promise.all(pending)).map(({ sum }) => [...sum]), [[2, -2], [4, -4]])
  })

  it('end one by one when they are aborted, and are cancelled when all are', async () => {
    const [requests, held] = [new SharedRequests(), new Held()]
    const [first, second, early] = [new AbortController(), new AbortController(), new AbortController()]
    early.abort(new Error('early'))
    const gone = requests.add(batch(9), held, () => {}, early.signal)
    const pending = [requests.add(batch(1), held, () => {}, first.signal), requests.add(batch(2), held, () => {}, second.signal)]
    requests.send()
    await assert.rejects(gone, /early/)
    assert.equal(held.asked[0].tokens, 2)
    first.abort(new Error('first'))
    await assert.rejects(pending[0], /first/)
    assert.equal(held.signals[0]?.aborted, false)
    second.abort(new Error('second'))
    await assert.rejects(pending[1], /second/)
    assert.equal(held.signals[0]?.aborted, true)
    held.answer(new Error('cancelled'))
  })

  it('all fail with what the one request fails with', async () => {
    const [requests, held] = [new SharedRequests(), new Held()]
    const pending = [requests.add(batch(1), held, () => {}), requests.add(batch(2), held, () => {})]
    requests.send()
    held.answer(new Error('nobody holds it'))
    for (const one of pending) await assert.rejects(one, /nobody holds it/)
  })
})
