import assert from 'node:assert/strict'
import { PromptLookup } from '../../../node/client/speculation/index.js'

function lookupOf (tokens: number[]): PromptLookup {
  const lookup = new PromptLookup(100)
  for (const token of tokens) lookup.push(token)
  return lookup
}

describe('PromptLookup', () => {
  for (const { name, tokens, match, after } of [
    { name: 'nothing in an empty text', tokens: [], match: undefined },
    { name: 'nothing where a single token comes again', tokens: [1, 2, 3, 1], match: undefined },
    { name: 'what followed the same two tokens', tokens: [1, 2, 3, 4, 1, 2], match: { next: 2, length: 2 }, after: [3, 4, 1] },
    { name: 'what followed the longest match, not the latest', tokens: [7, 1, 2, 5, 8, 1, 2, 6, 7, 1, 2], match: { next: 3, length: 3 }, after: [5, 8, 1] },
    { name: 'the latest of equally long matches', tokens: [1, 2, 5, 1, 2, 6, 1, 2], match: { next: 5, length: 2 }, after: [6, 1, 2] },
    { name: 'a run, up to the end of the text', tokens: [3, 3, 3], match: { next: 2, length: 2 }, after: [3] },
    { name: 'a match that begins with the text', tokens: [1, 2, 1, 2], match: { next: 2, length: 2 }, after: [1, 2] },
    { name: 'no more than eight tokens back', tokens: [...Array.from({ length: 12 }, (_, i) => i), 50, ...Array.from({ length: 12 }, (_, i) => i)], match: { next: 12, length: 8 }, after: [50, 0, 1] }
  ]) {
    it(`finds ${name}`, () => {
      const lookup = lookupOf(tokens)
      const found = lookup.match()
      assert.deepEqual(found, match)
      if (found !== undefined) assert.deepEqual(lookup.after(found, 3), after)
    })
  }

  it('agrees with a search of the whole text', () => {
    let state = 1
    const tokens: number[] = []
    const lookup = new PromptLookup(4)
    for (let n = 0; n < 400; n++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      tokens.push(state >>> 30)
      lookup.push(tokens[n])
      let best: { next: number, length: number } | undefined
      for (let next = tokens.length - 1; next >= 1; next--) {
        let length = 0
        while (length < 8 && length < next && tokens[next - 1 - length] === tokens[tokens.length - 1 - length]) length++
        if (length >= 2 && length > (best?.length ?? 0)) best = { next, length }
      }
      assert.deepEqual(lookup.match(), best, `after ${n + 1} tokens`)
    }
  })
})
