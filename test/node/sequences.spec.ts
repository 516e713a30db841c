import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import { Sequences } from '../../node/client/sequences.js'

describe('sequences under way', () => {
  it('are as many as allowed; others wait in order', async () => {
    const sequences = new Sequences(2)
    const [first, second] = [await sequences.enter(), await sequences.enter()]
    const order: string[] = []
    const [third, fourth] = ['third', 'fourth'].map(async name => {
      const leave = await sequences.enter()
      order.push(name)
      return leave
    })
    await setImmediate()
    assert.deepEqual(sequences.load, { running: 2, waiting: 2 })
    second()
    second()
    ;(await third)()
    first()
    ;(await fourth)()
    assert.deepEqual(order, ['third', 'fourth'])
    assert.deepEqual(sequences.load, { running: 0, waiting: 0 })
  })

  it('do not wait for one that was cancelled while it waited', async () => {
    const sequences = new Sequences(1)
    const leave = await sequences.enter()
    const abort = new AbortController()
    const cancelled = sequences.enter(abort.signal)
    const next = sequences.enter()
    abort.abort(new Error('enough'))
    await assert.rejects(cancelled, /enough/)
    leave()
    ;(await next)()
    assert.deepEqual(sequences.load, { running: 0, waiting: 0 })
    await assert.rejects(sequences.enter(abort.signal), /enough/)
  })
})
