import { coverageMap } from '../directory/coverage.js'
import type { LivePeer } from '../directory/directory.js'
import type { HostedBlock } from '../interface.js'
import type { PlacementBlock } from './placement.js'

/** The model's blocks, in order, each with the live peers that hold all of it: what a placement is planned from. */
export function withHolders (
  blocks: ReadonlyArray<HostedBlock & { bytes: number }>, live: ReadonlyArray<Pick<LivePeer, 'peerId'> & { manifest: Pick<LivePeer['manifest'], 'blocks' | 'capacity'> }>
): PlacementBlock[] {
  const capacities = new Map(live.map(({ peerId, manifest }) => [peerId, manifest.capacity]))
  const cells = coverageMap(live.map(({ peerId, manifest }) => ({ peerId, blocks: manifest.blocks })), blocks)
  const inOrder = [...blocks].sort((a, b) => a.layer - b.layer || a.firstExpert - b.firstExpert)
  return inOrder.map(({ layer, firstExpert, experts, bytes }, at) => ({
    layer, firstExpert, experts, bytes, holders: cells[at].peers.map(peerId => ({ peerId, capacity: capacities.get(peerId) ?? 1 }))
  }))
}
