/**
 * The tokens that a lap over the newest token and a draft gives: the model's own choice at each place, as far as the draft chose the same, and one
 * more. So they are the tokens that laps one by one would give, whatever the draft was. A drafted token counts for nothing but the time it saves.
 *
 * By this rule a fixed token d is accepted with the probability p(d) that the model gives it, and followed by one of p without d where it is not: the rule of
 * speculative sampling (Leviathan et al. 2023, arXiv 2211.17192) for a drafter without chance. Where the drafter's choice is by the same chance, more are accepted.
 *
 * @param choose - the model's choice after the newest token and the first `row` of the draft
 */
export function confirm (draft: readonly number[], choose: (row: number) => number): number[] {
  const tokens: number[] = []
  for (let row = 0; row <= draft.length; row++) {
    const token = choose(row)
    tokens.push(token)
    if (token !== draft[row]) break
  }
  return tokens
}
