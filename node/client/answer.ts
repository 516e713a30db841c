import type { TextStream } from '../../model-tools/index.js'
import type { FinishReason } from './generate.js'
import { StopStrings } from './stop-strings.js'

export interface AnswerInit {
  newStream: () => TextStream
  /** Strings that end the text. */
  stop: readonly string[]
  stopIds: ReadonlySet<number>
  maxTokens: number
}

/** The text that generated tokens come to, up to where it ends. */
export class Answer {
  readonly tokens: number[] = []
  text = ''
  /** Undefined while it goes on. */
  finishReason: FinishReason | undefined
  private stream: TextStream
  private stops: StopStrings

  constructor (private readonly init: AnswerInit) {
    this.stream = init.newStream()
    this.stops = new StopStrings([...init.stop])
    this.look()
  }

  /** Adds a token and returns what text it gives. */
  push (id: number): string {
    const { stopIds } = this.init
    this.tokens.push(id)
    const piece = this.stops.push(stopIds.has(id) ? '' : this.stream.push(id))
    this.text += piece.text
    if (piece.stopped || stopIds.has(id)) this.finishReason = 'stop'
    else this.look()
    return piece.text
  }

  /** Goes back to these tokens: another answer's first ones, or its own. */
  restore (tokens: readonly number[]): void {
    const kept = [...tokens]
    this.stream = this.init.newStream()
    this.stops = new StopStrings([...this.init.stop])
    this.tokens.length = 0
    this.text = ''
    this.finishReason = undefined
    this.look()
    for (const id of kept) if (this.finishReason === undefined) this.push(id)
  }

  /** What was held back at the end, for it might have become a stop string or a character. */
  end (): string {
    return this.text + this.stops.push(this.stream.end()).text + this.stops.end()
  }

  private look (): void {
    if (this.tokens.length >= this.init.maxTokens) this.finishReason = 'length'
  }
}
