import type { HostedBlock } from '../interface.js'

/** Experts [firstExpert, firstExpert + experts) of a layer, and the peers that hold all of them. */
export interface CoverageCell extends HostedBlock {
  peers: string[]
}

/**
 * The map of layer x block with its holders, holes included. Blocks are those of `expected` (the model's, where a bundle is at hand),
 * or else the finest cut that all peers' blocks make together, in every layer up to the highest that anybody hosts. Pure.
 */
export function coverageMap (peers: ReadonlyArray<{ peerId: string, blocks: readonly HostedBlock[] }>, expected?: readonly HostedBlock[]): CoverageCell[] {
  const cells = expected ?? finestCut(peers.flatMap(({ blocks }) => blocks))
  return cells
    .map(({ layer, firstExpert, experts }) => ({
      layer,
      firstExpert,
      experts,
      peers: peers.filter(({ blocks }) => holdsAll(blocks, layer, firstExpert, experts)).map(({ peerId }) => peerId).sort()
    }))
    .sort((a, b) => a.layer - b.layer || a.firstExpert - b.firstExpert)
}

function finestCut (blocks: readonly HostedBlock[]): HostedBlock[] {
  const cuts = [...new Set(blocks.flatMap(({ firstExpert, experts }) => [firstExpert, firstExpert + experts]).concat(0))].sort((a, b) => a - b)
  const layers = blocks.reduce((most, { layer }) => Math.max(most, layer + 1), 0)
  const cells: HostedBlock[] = []
  for (let layer = 0; layer < layers; layer++) {
    for (let at = 0; at + 1 < cuts.length; at++) cells.push({ layer, firstExpert: cuts[at], experts: cuts[at + 1] - cuts[at] })
  }
  return cells
}

/** A cell may span several blocks of a peer. */
function holdsAll (blocks: readonly HostedBlock[], layer: number, firstExpert: number, experts: number): boolean {
  const own = blocks.filter(block => block.layer === layer).sort((a, b) => a.firstExpert - b.firstExpert)
  let reached = firstExpert
  for (const block of own) {
    if (block.firstExpert <= reached) reached = Math.max(reached, block.firstExpert + block.experts)
  }
  return reached >= firstExpert + experts
}
