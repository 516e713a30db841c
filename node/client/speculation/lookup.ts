/** Longest suffix that is looked for. What goes on after eight equal tokens goes on after more. */
const MAX_MATCH = 8
/** Shortest: a single token comes again everywhere. */
const MIN_MATCH = 2

export interface Match {
  /** Where the tokens that followed begin. */
  next: number
  /** How many tokens before it equal the end of the text. */
  length: number
}

/** Prompt lookup: finds where the end of a text was before, and what followed. Grows with the text; a look-up costs a few comparisons. */
export class PromptLookup {
  private readonly tokens: number[] = []
  /** Behind the last place, and the one before, of each pair of tokens. */
  private readonly pairs = new Map<number, number[]>()

  /** @param vocabSize - token ids are below it */
  constructor (private readonly vocabSize: number) {}

  push (token: number): void {
    const before = this.tokens.at(-1)
    this.tokens.push(token)
    if (before === undefined) return
    const pair = before * this.vocabSize + token
    const places = this.pairs.get(pair)
    if (places === undefined) this.pairs.set(pair, [this.tokens.length])
    else places.push(this.tokens.length)
  }

  /** The longest match of the text's end, the latest of several; undefined where the last two tokens have not been side by side. */
  match (): Match | undefined {
    const { tokens } = this
    if (tokens.length < MIN_MATCH) return undefined
    const places = this.pairs.get(tokens[tokens.length - 2] * this.vocabSize + tokens[tokens.length - 1])!
    let best: Match | undefined
    for (let i = places.length - 2; i >= 0; i--) { // the last place is the end itself
      let length = MIN_MATCH
      while (length < MAX_MATCH && length < places[i] && tokens[places[i] - 1 - length] === tokens[tokens.length - 1 - length]) length++
      if (best === undefined || length > best.length) best = { next: places[i], length }
      if (length === MAX_MATCH) break
    }
    return best
  }

  /** At most `length` tokens that followed a match. */
  after ({ next }: Match, length: number): number[] {
    return this.tokens.slice(next, next + length)
  }
}
