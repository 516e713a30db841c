import * as limits from '../constants.js'
import type { HostedBlock } from '../interface.js'
import { keyOf, type PlacementBlock } from './placement.js'

export interface Look {
  /** 1 for the first one, at which nobody knows what this peer intends. */
  look: number
  /** What was planned at this look, and what the others have been told to be intended. */
  take: readonly HostedBlock[]
  intended: readonly HostedBlock[]
  /** As this look saw them, with all their holders, or those of a sample. */
  blocks: readonly PlacementBlock[]
  whole: boolean
}

/**
 * Whether a volunteer that starts may obtain what it planned: it has told others and planned the same again, and no other that would like to have one of
 * these blocks too had better look further and has not seen so yet. Of a large swarm, of which it sees a sample, it looks twice only: there chance
 * spreads volunteers well enough. Pure.
 */
export function isSettled ({ look, take, intended, blocks, whole }: Look): boolean {
  if (take.length === 0 || look >= limits.SETTLE_LOOKS) return true
  return look > 1 && (!whole || (sameBlocks(take, intended) && !isContested(blocks, take)))
}

function isContested (blocks: readonly PlacementBlock[], taken: readonly HostedBlock[]): boolean {
  const mine = new Set(taken.map(keyOf))
  const holders = (block: PlacementBlock): number => block.holders.length + (mine.has(keyOf(block)) ? 1 : 0)
  const least = Math.min(...blocks.map(holders))
  return blocks.some(block => mine.has(keyOf(block)) && holders(block) - least >= 2 && block.holders.some(({ stage }) => stage === 'intended'))
}

function sameBlocks (one: readonly HostedBlock[], other: readonly HostedBlock[]): boolean {
  const keys = new Set(other.map(keyOf))
  return one.length === other.length && one.every(block => keys.has(keyOf(block)))
}
