import { chain, type Draft, type Drafter } from '../../node/index.js'
import { seeded } from '../seeded.js'

/** Of the demo's assistant, on 30 openings that it was not trained on: how often its token at a place is right where all before it are (model-tools/demo-drafter/NOTES.md). */
const RIGHT = [0.716, 0.757, 0.744, 0.772]

/**
 * Proposes what a model is known to write, as often wrong as a trained drafter would be: for models with random weights, which no drafter can know. What the laps
 * cost is real, how many tokens they give is assumed, and the drafting itself costs nothing.
 */
export class ReplayDrafter implements Drafter {
  private readonly texts: number[][] = []

  /** @param vocabSize - token ids are below it */
  constructor (private readonly vocabSize: number) {}

  /** A text that the model wrote, prompt and answer. */
  learn (text: number[]): void { this.texts.push(text) }

  draft ({ tokens }: { tokens: readonly number[] }, length: number): Draft {
    // The last one first: of texts that part by rounding, what was written last is likeliest to come again.
    const known = this.texts.findLast(text => text.length > tokens.length && tokens.every((token, at) => text[at] === token))
    if (known === undefined) return chain([])
    const random = seeded(tokens.length)
    const drafted = known.slice(tokens.length, tokens.length + length)
    const mistake = drafted.findIndex((_, place) => random() >= RIGHT[Math.min(place, RIGHT.length - 1)])
    if (mistake >= 0) drafted[mistake] = (drafted[mistake] + 1) % this.vocabSize
    return chain(drafted)
  }
}
