import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { within } from '../../swarm/deadline.js'

describe('a deadline', () => {
  it('aborts when its time is over, and when a signal does', async () => {
    using late = within(5, undefined)
    await new Promise(resolve => { late.signal.addEventListener('abort', resolve) })
    assert.equal((late.signal.reason as Error).name, 'TimeoutError')

    const stopped = new AbortController()
    using limit = within(60_000, undefined, stopped.signal)
    assert.equal(limit.signal.aborted, false)
    stopped.abort(new Error('stopped'))
    assert.equal((limit.signal.reason as Error).message, 'stopped')
    using after = within(60_000, stopped.signal)
    assert.equal(after.signal.aborted, true)
  })

  it('leaves nothing in a signal that lives on', () => {
    const stopped = new AbortController()
    for (let i = 0; i < 3; i++) {
      using limit = within(60_000, stopped.signal)
      assert.ok(!limit.signal.aborted)
      assert.equal(getEventListeners(stopped.signal, 'abort').length, 1)
    }
    assert.equal(getEventListeners(stopped.signal, 'abort').length, 0)
  })
})
