import assert from 'node:assert/strict'
import { coverageMap } from '../../../swarm/directory/coverage.js'
import { redundantPeer } from '../../../swarm/directory/redundancy.js'
import { HostedExperts } from '../../../swarm/expert/hosted.js'
import type { HostedBlock } from '../../../swarm/interface.js'

/** [layer, firstExpert, experts] */
type Block = [number, number, number]

function blocks (...list: Block[]): HostedBlock[] {
  return list.map(([layer, firstExpert, experts]) => ({ layer, firstExpert, experts }))
}

describe('coverage map', () => {
  const table: Array<{ id: string, peers: Record<string, Block[]>, expected?: Block[], cells: Array<[...Block, string]> }> = [
    { id: 'nobody', peers: {}, cells: [] },
    { id: 'nobody of what is expected', peers: {}, expected: [[0, 0, 16]], cells: [[0, 0, 16, '']] },
    { id: 'cuts where any block is cut', peers: { a: [[0, 0, 8]], b: [[0, 4, 4]] }, cells: [[0, 0, 4, 'a'], [0, 4, 4, 'ab']] },
    { id: 'shows holes between', peers: { a: [[0, 0, 4], [2, 8, 4]] }, cells: [[0, 0, 4, 'a'], [0, 4, 4, ''], [0, 8, 4, ''], [1, 0, 4, ''], [1, 4, 4, ''], [1, 8, 4, ''], [2, 0, 4, ''], [2, 4, 4, ''], [2, 8, 4, 'a']] },
    { id: 'joins adjacent blocks of a peer', peers: { a: [[0, 4, 4], [0, 0, 4]], b: [[0, 0, 4]] }, expected: [[0, 0, 8]], cells: [[0, 0, 8, 'a']] },
    { id: 'half a block is none', peers: { a: [[0, 0, 4], [0, 5, 3]] }, expected: [[0, 0, 8]], cells: [[0, 0, 8, '']] }
  ]
  for (const { id, peers, expected, cells } of table) {
    it(id, () => {
      const map = coverageMap(Object.entries(peers).map(([peerId, list]) => ({ peerId, blocks: blocks(...list) })), expected == null ? undefined : blocks(...expected))
      assert.deepEqual(map.map(cell => [cell.layer, cell.firstExpert, cell.experts, cell.peers.join('')]), cells)
    })
  }
})

describe('room in a full directory', () => {
  const peer = (id: string, expectedMs: number, ...list: Block[]): { id: string, hosted: HostedExperts, latency: { expectedMs: () => number } } =>
    ({ id, hosted: new HostedExperts(blocks(...list), 8), latency: { expectedMs: () => expectedMs } })

  for (const { id, live, newcomer, displaced } of [
    { id: 'none for one more replica', live: [peer('a', 1, [0, 0, 8]), peer('b', 9, [0, 0, 8])], newcomer: peer('n', 1, [0, 0, 8]), displaced: undefined },
    { id: 'the slowest redundant peer for what nobody holds', live: [peer('a', 1, [0, 0, 4]), peer('b', 9, [0, 0, 4]), peer('c', 5, [0, 0, 4])], newcomer: peer('n', 1, [0, 4, 4]), displaced: 'b' },
    { id: 'none when everybody is needed', live: [peer('a', 1, [0, 0, 4])], newcomer: peer('n', 1, [0, 4, 4]), displaced: undefined },
    { id: 'none for a layer that we do not need', live: [peer('a', 1, [0, 0, 8]), peer('b', 9, [0, 0, 8])], newcomer: peer('n', 1, [3, 0, 8]), displaced: undefined },
    { id: 'a peer whose experts the newcomer holds too', live: [peer('a', 1, [0, 0, 4])], newcomer: peer('n', 1, [0, 0, 8]), displaced: 'a' }
  ]) {
    it(id, () => { assert.equal(redundantPeer(live, newcomer, [0])?.id, displaced) })
  }
})
