/** A block that could be computed here. */
export interface LocalBlock {
  file: string
  /** Memory that its experts take. */
  bytes: number
  /** How often its experts were chosen so far. */
  uses: number
  /** Whether some of its experts are with nobody live. */
  lacking: boolean
}

/** A layer that could be computed here, or some of it. */
export interface LocalCandidate {
  layer: number
  /** Milliseconds until the swarm's answer to a token. */
  expectedMs: number
  blocks: LocalBlock[]
}

/**
 * Which blocks to compute here, as many as fit: those that the swarm lacks; then the rest of whole layers that it is slowest for, each of which
 * removes its round trip from every lap; then the hottest blocks of a layer, of one layer before the next, since a token is
 * spared the round trip only when all of its `topK` experts are here. Equal ones go by their order. Pure.
 */
export function chooseLocalBlocks (candidates: readonly LocalCandidate[], topK: number, budgetBytes: number): Set<string> {
  const chosen = new Set<string>()
  let left = budgetBytes
  const take = (blocks: readonly LocalBlock[]): void => {
    for (const { file, bytes } of blocks) {
      chosen.add(file)
      left -= bytes
    }
  }
  const restOf = ({ blocks }: LocalCandidate): LocalBlock[] => blocks.filter(({ file }) => !chosen.has(file))

  for (const block of candidates.flatMap(({ blocks }) => blocks.filter(({ lacking }) => lacking)).sort((a, b) => b.uses - a.uses)) {
    if (block.bytes <= left) take([block])
  }
  for (const candidate of [...candidates].sort((a, b) => b.expectedMs - a.expectedMs)) {
    const rest = restOf(candidate)
    if (sizeOf(rest) <= left) take(rest)
  }
  let open = candidates.filter(candidate => restOf(candidate).length > 0)
  while (open.length > 0) {
    const offers = open.map(candidate => offerOf(candidate, restOf(candidate), topK, left)).filter(({ blocks }) => blocks.length > 0)
    if (offers.length === 0) break
    const best = offers.reduce((a, b) => b.sparedMs > a.sparedMs ? b : a)
    take(best.blocks)
    open = open.filter(candidate => candidate !== best.candidate)
  }
  return chosen
}

/** The hottest further blocks of a layer that fit, and the round trips that they and what is here already spare a token. */
function offerOf (candidate: LocalCandidate, rest: LocalBlock[], topK: number, budgetBytes: number): { candidate: LocalCandidate, blocks: LocalBlock[], sparedMs: number } {
  let left = budgetBytes
  const blocks = [...rest].sort((a, b) => b.uses - a.uses).filter(({ bytes }) => {
    if (bytes > left) return false
    left -= bytes
    return true
  })
  const remote = heatOf(rest.filter(block => !blocks.includes(block)))
  return { candidate, blocks, sparedMs: candidate.expectedMs * (1 - remote / heatOf(candidate.blocks)) ** topK }
}

function sizeOf (blocks: readonly LocalBlock[]): number {
  return blocks.reduce((sum, { bytes }) => sum + bytes, 0)
}

/** What was never chosen may be. */
function heatOf (blocks: readonly LocalBlock[]): number {
  return blocks.reduce((sum, { uses }) => sum + uses + 1, 0)
}
