import assert from 'node:assert/strict'
import * as limits from '../../../swarm/constants.js'
import { BulkCredit } from '../../../swarm/blocks/credit.js'

interface Link {
  roundTripMs: number
  bytesPerMs: number
  forMs: number
  /** Bytes of an acknowledgement; those of each frame where nothing is given. */
  acknowledges?: number
}

interface Transferred {
  credit: BulkCredit
  /** Of the last third: at first the credit is still looking for its size. */
  queueMs: { p95: number, median: number }
  bytesPerMs: number
}

/** A link in simulated time: frames leave at its rate one after the other, and are acknowledged a round trip later. */
function transfer ({ roundTripMs, bytesPerMs, forMs, acknowledges }: Link): Transferred {
  const credit = new BulkCredit()
  const arriving: Array<{ bytes: number, atMs: number }> = []
  const queues: number[] = []
  let [wireFreeMs, acknowledged, arrived] = [0, 0, 0]
  for (let nowMs = 0; nowMs < forMs; nowMs += 0.1) {
    for (; arriving.length > 0 && arriving[0].atMs <= nowMs; arriving.shift()) {
      arrived += arriving[0].bytes
      if (arrived - acknowledged < (acknowledges ?? 0)) continue
      credit.acknowledged(arrived - acknowledged, nowMs)
      acknowledged = arrived
    }
    for (let bytes = credit.frameBytes; credit.allows(bytes); bytes = credit.frameBytes) {
      credit.sent(bytes, nowMs)
      wireFreeMs = Math.max(wireFreeMs, nowMs) + bytes / bytesPerMs
      arriving.push({ bytes, atMs: wireFreeMs + roundTripMs })
    }
    if (nowMs > forMs * 2 / 3) queues.push(Math.max(0, wireFreeMs - nowMs))
  }
  const sorted = queues.sort((a, b) => a - b)
  return { credit, queueMs: { p95: sorted[Math.floor(sorted.length * 0.95)], median: sorted[sorted.length >> 1] }, bytesPerMs: acknowledged / forMs }
}

describe('credit of bulk', () => {
  it('grows with the round trip of a fast link, up to its bound', () => {
    const near = transfer({ roundTripMs: 1, bytesPerMs: 100_000, forMs: 2_000 })
    assert.equal(near.credit.bytes, limits.BLOCKS_CREDIT_BYTES)
    assert.equal(near.credit.frameBytes, limits.BLOCKS_FRAME_BYTES)
    const far = transfer({ roundTripMs: 20, bytesPerMs: 100_000, forMs: 2_000 })
    assert.ok(far.bytesPerMs > 0.9 * limits.BLOCKS_PEER_BYTES_PER_SECOND / 1_000, `${far.bytesPerMs} bytes a ms`)
    const farther = transfer({ roundTripMs: 200, bytesPerMs: 100_000, forMs: 4_000 })
    assert.equal(farther.credit.bytes, limits.BLOCKS_MAX_CREDIT_BYTES)
  })

  for (const mbit of [2, 20, 50, 100]) {
    for (const roundTripMs of [5, 18, 100]) {
      it(`fills ${mbit} Mbit/s over ${roundTripMs} ms with a queue of a few milliseconds, however long it goes on`, () => {
        const bytesPerMs = mbit * 125
        const { queueMs, ...slow } = transfer({ roundTripMs, bytesPerMs, forMs: 90_000 })
        // What cannot be made smaller is two frames of the least size.
        const leastMs = 2 * limits.BLOCKS_MIN_FRAME_BYTES / bytesPerMs + 0.1
        assert.ok(queueMs.median <= Math.max(leastMs, 2 * limits.BLOCKS_QUEUE_MS), `${queueMs.median} ms of queue`)
        assert.ok(queueMs.p95 <= Math.max(leastMs, 3 * limits.BLOCKS_QUEUE_MS), `${queueMs.p95} ms of queue at the 95th percentile`)
        assert.ok(slow.bytesPerMs > 0.85 * Math.min(bytesPerMs, limits.BLOCKS_MAX_CREDIT_BYTES / roundTripMs), `${slow.bytesPerMs} bytes a ms`)
      })
    }
  }

  it('comes to no rest with a fetcher that acknowledges as much at a time as those of before did', () => {
    const slow = transfer({ roundTripMs: 18, bytesPerMs: 2_500, forMs: 40_000, acknowledges: limits.BLOCKS_ACK_BYTES })
    assert.ok(slow.bytesPerMs > 0.85 * 2_500, `${slow.bytesPerMs} bytes a ms`)
    assert.ok(slow.credit.bytes >= 2 * limits.BLOCKS_ACK_BYTES)
  })

  it('does not grow for a sender that has nothing more to send', () => {
    const credit = new BulkCredit()
    const { bytes } = credit
    for (let nowMs = 0; nowMs < 1_000; nowMs += 50) {
      credit.sent(limits.BLOCKS_FRAME_BYTES, nowMs)
      credit.acknowledged(limits.BLOCKS_FRAME_BYTES, nowMs + 40)
    }
    assert.equal(credit.bytes, bytes)
  })
})
