/** How much of a measurement is left after the next one: the last sixty or so count. */
const KEEP = 0.985

/** What an untried place is taken to be worth, as a share of those before it, and how many measurements that counts for at first: it is forgotten as they are. Hopeful, so that it is tried. */
const PRIOR = 0.9
const PRIOR_WEIGHT = 8

/** How often a drafter's tokens are accepted, by their place in the draft, which may be a tree; older drafts are forgotten by and by. */
export class Acceptance {
  /** Drafts that had a token at a place, and those whose token there was accepted. */
  private readonly drafted: number[] = []
  private readonly accepted: number[] = []
  /** What is left of the weight of what was taken before anything was measured. */
  private readonly prior: number[] = []

  /** `right`: places, of `drafted` ones, whose tokens were accepted. */
  observe (drafted: number, right: readonly number[]): void {
    for (let i = 0; i < drafted; i++) {
      this.drafted[i] = (this.drafted[i] ?? 0) * KEEP + 1
      this.accepted[i] = (this.accepted[i] ?? 0) * KEEP + (right.includes(i) ? 1 : 0)
      this.prior[i] = (this.prior[i] ?? PRIOR_WEIGHT) * KEEP
    }
  }

  /**
   * Tokens that a lap with a draft of each length from 0 to `most` is expected to give. A later place is right no more often than an earlier one, in chains as in trees, so where it
   * was measured the other way round, both count as one (isotonic regression, by pooling adjacent violators): single places are measured too little to be believed.
   */
  expected (most: number): number[] {
    const pools: Pool[] = []
    let before = 1
    for (let i = 0; i < most; i++) {
      const prior = this.prior[i] ?? PRIOR_WEIGHT
      let pool: Pool = { places: 1, right: (this.accepted[i] ?? 0) + prior * PRIOR * before, weight: (this.drafted[i] ?? 0) + prior }
      while (pools.length > 0 && share(pools[pools.length - 1]) <= share(pool)) pool = together(pools.pop()!, pool)
      pools.push(pool)
      before = share(pool)
    }
    const tokens = [1]
    for (const pool of pools) for (let i = 0; i < pool.places; i++) tokens.push(tokens[tokens.length - 1] + share(pool))
    return tokens
  }
}

/** Neighbouring places that are taken to be right equally often. */
interface Pool {
  places: number
  right: number
  weight: number
}

function share ({ right, weight }: Pool): number { return right / weight }

function together (a: Pool, b: Pool): Pool {
  return { places: a.places + b.places, right: a.right + b.right, weight: a.weight + b.weight }
}
