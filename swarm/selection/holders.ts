import { coverageMap } from '../directory/coverage.js'
import type { LivePeer } from '../directory/directory.js'
import type { HostedBlock } from '../interface.js'
import type { BlockHolder, PlacementBlock } from './placement.js'

type Told = Pick<LivePeer['manifest'], 'blocks' | 'capacity'> & Partial<Pick<LivePeer['manifest'], 'intended' | 'fetching'>>

/** The model's blocks, in order, each with the live peers that hold all of it, or will, or would like to: what a placement is planned from. */
export function withHolders (
  blocks: ReadonlyArray<HostedBlock & { bytes: number }>, live: ReadonlyArray<Pick<LivePeer, 'peerId'> & { manifest: Told }>
): PlacementBlock[] {
  const capacities = new Map(live.map(({ peerId, manifest }) => [peerId, manifest.capacity]))
  const stages = ([undefined, 'fetching', 'intended'] as const).map(stage => ({
    stage, cells: coverageMap(live.map(({ peerId, manifest }) => ({ peerId, blocks: stage === undefined ? manifest.blocks : manifest[stage] ?? [] })), blocks)
  }))
  const inOrder = [...blocks].sort((a, b) => a.layer - b.layer || a.firstExpert - b.firstExpert)
  return inOrder.map(({ layer, firstExpert, experts, bytes }, at) => {
    const holders = new Map<string, BlockHolder>()
    for (const { stage, cells } of stages) {
      for (const peerId of cells[at].peers) {
        if (!holders.has(peerId)) holders.set(peerId, { peerId, capacity: capacities.get(peerId) ?? 1, ...stage && { stage } })
      }
    }
    return { layer, firstExpert, experts, bytes, holders: [...holders.values()] }
  })
}
