import type { HostedBlock } from '../interface.js'

/** Experts [firstExpert, firstExpert + experts) of a layer, and the peers that hold all of them. */
export interface CoverageCell extends HostedBlock {
  peers: string[]
}

/** Above this many, every layer is cut by its own blocks only: one peer with odd blocks must not cut all of them into thousands. */
const MAX_CELLS = 65_536

/**
 * The map of layer x block with its holders, holes included. Blocks are those of `expected` (the model's, where a bundle is at hand),
 * or else the finest cut that all peers' blocks make together, in every layer up to the highest that anybody hosts. Pure.
 */
export function coverageMap (peers: ReadonlyArray<{ peerId: string, blocks: readonly HostedBlock[] }>, expected?: readonly HostedBlock[]): CoverageCell[] {
  const cells = expected ?? finestCut(peers.flatMap(({ blocks }) => blocks))
  const holders = peers.map(({ peerId, blocks }) => ({ peerId, runs: runsOf(blocks) })).sort((a, b) => a.peerId < b.peerId ? -1 : 1)
  return cells
    .map(({ layer, firstExpert, experts }) => ({
      layer,
      firstExpert,
      experts,
      peers: holders.filter(({ runs }) => runs.get(layer)?.some(run => run.from <= firstExpert && run.to >= firstExpert + experts) ?? false).map(({ peerId }) => peerId)
    }))
    .sort((a, b) => a.layer - b.layer || a.firstExpert - b.firstExpert)
}

function finestCut (blocks: readonly HostedBlock[]): HostedBlock[] {
  const layers = blocks.reduce((most, { layer }) => Math.max(most, layer + 1), 0)
  const common = cutsOf(blocks)
  const byLayer = common.length * layers <= MAX_CELLS ? undefined : byLayerOf(blocks)
  const cells: HostedBlock[] = []
  for (let layer = 0; layer < layers; layer++) {
    const cuts = byLayer == null ? common : cutsOf(byLayer.get(layer) ?? [])
    for (let at = 0; at + 1 < cuts.length; at++) cells.push({ layer, firstExpert: cuts[at], experts: cuts[at + 1] - cuts[at] })
  }
  return cells
}

function cutsOf (blocks: readonly HostedBlock[]): number[] {
  return [...new Set(blocks.flatMap(({ firstExpert, experts }) => [firstExpert, firstExpert + experts]).concat(0))].sort((a, b) => a - b)
}

function byLayerOf (blocks: readonly HostedBlock[]): Map<number, HostedBlock[]> {
  const layers = new Map<number, HostedBlock[]>()
  for (const block of blocks) {
    const own = layers.get(block.layer)
    if (own == null) layers.set(block.layer, [block])
    else own.push(block)
  }
  return layers
}

/** Experts [from, to) without a gap, by layer: a cell may span several blocks of a peer. */
function runsOf (blocks: readonly HostedBlock[]): Map<number, Array<{ from: number, to: number }>> {
  return new Map([...byLayerOf(blocks)].map(([layer, own]) => {
    const runs: Array<{ from: number, to: number }> = []
    for (const { firstExpert, experts } of own.sort((a, b) => a.firstExpert - b.firstExpert)) {
      const last = runs.at(-1)
      if (last != null && firstExpert <= last.to) last.to = Math.max(last.to, firstExpert + experts)
      else runs.push({ from: firstExpert, to: firstExpert + experts })
    }
    return [layer, runs]
  }))
}
