/** How much of a measurement is left after the next one: the last sixty or so count. */
const KEEP = 0.985

/** What an untried place is taken to be worth, as a share of the one before it, and how many measurements that counts for. Hopeful, so that it is tried. */
const PRIOR = 0.8
const PRIOR_WEIGHT = 3

/** How often a drafter's tokens are accepted, by their place in the draft, which may be a tree; older drafts are forgotten by and by. */
export class Acceptance {
  /** Drafts that had a token at a place, and those whose token there was accepted. */
  private readonly drafted: number[] = []
  private readonly accepted: number[] = []

  /** `right`: places, of `drafted` ones, whose tokens were accepted. */
  observe (drafted: number, right: readonly number[]): void {
    for (let i = 0; i < drafted; i++) {
      this.drafted[i] = (this.drafted[i] ?? 0) * KEEP + 1
      this.accepted[i] = (this.accepted[i] ?? 0) * KEEP + (right.includes(i) ? 1 : 0)
    }
  }

  /**
   * Tokens that a lap with a draft of each length from 0 to `most` is expected to give. A place of which little is known is taken to lose as much against the
   * one before it as that did.
   */
  expected (most: number): number[] {
    const tokens = [1]
    let before = 1
    let ratio = PRIOR
    for (let i = 0; i < most; i++) {
      const share = ((this.accepted[i] ?? 0) + PRIOR_WEIGHT * ratio * before) / ((this.drafted[i] ?? 0) + PRIOR_WEIGHT)
      ratio = Math.min(1, share / before)
      before = share
      tokens.push(tokens[i] + share)
    }
    return tokens
  }
}
