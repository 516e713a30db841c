import { chain, type Draft } from './draft.js'

/** What a lap gives: tokens, and the rows of the lap that each was chosen behind. */
export interface Confirmed {
  tokens: number[]
  rows: number[]
}

/**
 * The tokens that a lap over the newest token and a draft gives: the model's own choice at each place, as far as the draft chose the same, and one
 * more. So they are the tokens that laps one by one would give, whatever the draft was. A drafted token counts for nothing but the time it saves.
 *
 * By this rule a fixed token d is accepted with the probability p(d) that the model gives it, and followed by one of p without d where it is not: the rule of
 * speculative sampling (Leviathan et al. 2023, arXiv 2211.17192) for a drafter without chance. Where the drafter's choice is by the same chance, more are accepted.
 *
 * Of a tree, the way that the model chooses is followed. Where all alternatives at a place are tried at once, the text is still that of laps one by one.
 *
 * @param choose - the model's choice behind a row of the lap: the newest token (0), or the token at place `row` - 1 of the draft and all before it, `depth` tokens
 */
export function confirmDraft ({ tokens: drafted, parents }: Draft, choose: (row: number, depth: number) => number): Confirmed {
  const confirmed: Confirmed = { tokens: [], rows: [] }
  for (let row = 0; row >= 0;) {
    const token = choose(row, confirmed.tokens.length)
    confirmed.tokens.push(token)
    confirmed.rows.push(row)
    row = drafted.findIndex((other, place) => other === token && parents[place] === row) + 1 || -1
  }
  return confirmed
}

/** `confirmDraft` of a draft without alternatives. */
export function confirm (draft: number[], choose: (row: number) => number): number[] {
  return confirmDraft(chain(draft), choose).tokens
}
