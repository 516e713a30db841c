import assert from 'node:assert/strict'
import { RateLimit } from '../../../swarm/blocks/rate-limit.js'
import { BLOCKS_BURST_MS } from '../../../swarm/constants.js'

describe('rate limit', () => {
  /** Milliseconds until `grants` of `bytes` have been sent by one that waits as it is told. */
  const sendAll = (limit: RateLimit, peers: string[], bytes: number, grants: number, startMs = 0): number => {
    const clocks = new Map(peers.map(peer => [peer, startMs]))
    for (let at = 0; at < grants; at++) {
      for (const peer of peers) clocks.set(peer, (clocks.get(peer) ?? 0) + limit.grant(peer, bytes, clocks.get(peer) ?? 0))
    }
    return Math.max(...clocks.values()) - startMs
  }

  for (const { id, peer, total, peers, expectedMs } of [
    { id: 'of one peer by the peer\'s rate', peer: 1_000, total: 10_000, peers: ['a'], expectedMs: 10_000 },
    { id: 'of one peer by the total rate', peer: 10_000, total: 1_000, peers: ['a'], expectedMs: 10_000 },
    { id: 'of several peers each by its own', peer: 1_000, total: 10_000, peers: ['a', 'b', 'c'], expectedMs: 10_000 },
    { id: 'of several peers together by the total', peer: 1_000, total: 1_500, peers: ['a', 'b', 'c'], expectedMs: 20_000 },
    { id: 'not at all without a rate', peer: Infinity, total: Infinity, peers: ['a', 'b'], expectedMs: 0 }
  ]) {
    it(`limits the bytes ${id}`, () => {
      const tookMs = sendAll(new RateLimit({ peerBytesPerSecond: peer, totalBytesPerSecond: total }), peers, 100, 100)
      assert.ok(Math.abs(tookMs - expectedMs) <= BLOCKS_BURST_MS + 300, `${tookMs} ms`)
    })
  }

  it('allows a burst after a pause, and no more than one', () => {
    const limit = new RateLimit({ peerBytesPerSecond: 1_000, totalBytesPerSecond: Infinity })
    assert.ok(sendAll(limit, ['a'], 100, 20) > 1_000)
    assert.equal(limit.grant('a', 10, 1_000_000), 0)
    assert.equal(limit.grant('a', 100, 1_000_000), 0)
    assert.equal(limit.grant('a', 100, 1_000_000), 110 - BLOCKS_BURST_MS)
  })

  it('forgets peers that have paid, never one that owes', () => {
    const limit = new RateLimit({ peerBytesPerSecond: 1_000, totalBytesPerSecond: Infinity })
    limit.grant('owes', 100_000, 0)
    for (let at = 0; at < 5_000; at++) limit.grant(`peer${at}`, 1, at * 10)
    assert.ok(limit.grant('owes', 1, 50_000) >= 49_000)
  })
})
