/** Tokens to try in one lap: a chain, or a tree of alternatives. */
export interface Draft {
  tokens: number[]
  /** Of each token, the row of the lap that it follows: 0 is the newest token of the text, i + 1 the token at place i of the draft, which comes before it. */
  parents: number[]
}

/** A draft without alternatives. */
export function chain (tokens: number[]): Draft {
  return { tokens, parents: tokens.map((_, place) => place) }
}

/** Tokens on the longest way through a draft. */
export function draftDepth ({ parents }: Draft): number {
  const depths = [0]
  for (const parent of parents) depths.push(depths[parent] + 1)
  return Math.max(...depths)
}
