import { ModelError } from '../../../model-tools/index.js'

/** Tokens to try in one lap: a chain, or a tree of alternatives. */
export interface Draft {
  tokens: number[]
  /** Of each token, the row of the lap that it follows: 0 is the newest token of the text, i + 1 the token at place i of the draft, which comes before it. */
  parents: number[]
}

/** Refuses what is no draft of at most `length` tokens of a vocabulary. @throws ModelError 'out-of-range' */
export function checkDraft ({ tokens, parents }: Draft, length: number, vocabSize: number): void {
  const wrong = tokens.length > length
    ? `has ${tokens.length} tokens, where ${length} were asked for`
    : parents.length !== tokens.length
      ? `has ${tokens.length} tokens and ${parents.length} parents`
      : tokens.some(token => !Number.isInteger(token) || token < 0 || token >= vocabSize)
        ? `has tokens outside the vocabulary of ${vocabSize}`
        : parents.some((parent, place) => !Number.isInteger(parent) || parent < 0 || parent > place)
          ? 'has a parent that does not come before its token'
          : undefined
  if (wrong !== undefined) throw new ModelError('out-of-range', `The drafter given to the client gave a draft that ${wrong}: see Drafter and chain().`, { tokens, parents, length })
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
