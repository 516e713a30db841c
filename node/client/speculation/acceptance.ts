/** How much of a measurement is left after the next one: the last thirty or so count. */
const KEEP = 0.97

/** What an untried position is taken to be worth, and how many measurements that counts for. Hopeful, so that it is tried. */
const PRIOR = 0.8
const PRIOR_WEIGHT = 1.5

/** How often a drafter's tokens are accepted, by their position in the draft; older drafts are forgotten by and by. */
export class Acceptance {
  /** Of the drafts that came to be judged at a position: how many there were and how many were right there. */
  private readonly judged: number[] = []
  private readonly right: number[] = []

  observe (drafted: number, accepted: number): void {
    for (let i = 0; i < Math.min(drafted, accepted + 1); i++) {
      this.judged[i] = (this.judged[i] ?? 0) * KEEP + 1
      this.right[i] = (this.right[i] ?? 0) * KEEP + (i < accepted ? 1 : 0)
    }
  }

  /**
   * Tokens that a lap with a draft of each length from 0 to `most` is expected to give. A position of which little is known is taken to be as good, where
   * all before it are right, as the one before it.
   */
  expected (most: number): number[] {
    const tokens = [1]
    let all = 1
    let given = PRIOR
    for (let i = 0; i < most; i++) {
      given = ((this.right[i] ?? 0) + PRIOR_WEIGHT * given) / ((this.judged[i] ?? 0) + PRIOR_WEIGHT)
      all *= given
      tokens.push(tokens[i] + all)
    }
    return tokens
  }
}
