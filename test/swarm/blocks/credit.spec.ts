import assert from 'node:assert/strict'
import * as limits from '../../../swarm/constants.js'
import { BulkCredit } from '../../../swarm/blocks/credit.js'

/** A link in simulated time: frames leave at its rate one after the other, and are acknowledged a round trip later. */
function transfer (link: { roundTripMs: number, bytesPerMs: number, forMs: number }): { credit: BulkCredit, queueMs: number, bytesPerMs: number } {
  const credit = new BulkCredit()
  const acks: number[] = []
  let wireFreeMs = 0
  let queueMs = 0
  let acknowledged = 0
  for (let nowMs = 0; nowMs < link.forMs; nowMs += 0.1) {
    for (; acks.length > 0 && acks[0] <= nowMs; acks.shift()) {
      credit.acknowledged(limits.BLOCKS_FRAME_BYTES, nowMs)
      acknowledged += limits.BLOCKS_FRAME_BYTES
    }
    while (credit.allows(limits.BLOCKS_FRAME_BYTES)) {
      credit.sent(limits.BLOCKS_FRAME_BYTES, nowMs)
      // Only the second half counts: at first the credit is still looking for its size.
      if (nowMs > link.forMs / 2) queueMs = Math.max(queueMs, wireFreeMs - nowMs)
      wireFreeMs = Math.max(wireFreeMs, nowMs) + limits.BLOCKS_FRAME_BYTES / link.bytesPerMs
      acks.push(wireFreeMs + link.roundTripMs)
    }
  }
  return { credit, queueMs, bytesPerMs: acknowledged / link.forMs }
}

describe('credit of bulk', () => {
  it('grows with the round trip of a fast link, up to its bound', () => {
    const near = transfer({ roundTripMs: 1, bytesPerMs: 100_000, forMs: 2_000 })
    assert.equal(near.credit.bytes, limits.BLOCKS_CREDIT_BYTES)
    const far = transfer({ roundTripMs: 20, bytesPerMs: 100_000, forMs: 2_000 })
    assert.ok(far.bytesPerMs > 0.9 * limits.BLOCKS_PEER_BYTES_PER_SECOND / 1_000, `${far.bytesPerMs} bytes a ms`)
    const farther = transfer({ roundTripMs: 200, bytesPerMs: 100_000, forMs: 4_000 })
    assert.equal(farther.credit.bytes, limits.BLOCKS_MAX_CREDIT_BYTES)
  })

  it('shrinks to its least where a queue builds up', () => {
    const slow = transfer({ roundTripMs: 20, bytesPerMs: 1_250, forMs: 10_000 })
    assert.ok(slow.bytesPerMs > 0.9 * 1_250, `${slow.bytesPerMs} bytes a ms`)
    assert.ok(slow.queueMs < limits.BLOCKS_CREDIT_BYTES / 1_250, `${slow.queueMs} ms of queue`)
    assert.ok(slow.credit.bytes >= limits.BLOCKS_MIN_CREDIT_BYTES)
  })

  it('does not grow for a sender that has nothing more to send', () => {
    const credit = new BulkCredit()
    for (let nowMs = 0; nowMs < 1_000; nowMs += 50) {
      credit.sent(limits.BLOCKS_FRAME_BYTES, nowMs)
      credit.acknowledged(limits.BLOCKS_FRAME_BYTES, nowMs + 40)
    }
    assert.equal(credit.bytes, limits.BLOCKS_CREDIT_BYTES)
  })
})
