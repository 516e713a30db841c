import type { DrafterName } from './drafter.js'

/** What speculation did for a generation. */
export interface SpeculationSummary {
  /** Decoding laps. */
  laps: number
  /** Tokens a decoding lap has given, the first token of the answer not counted. */
  tokensPerLap: number
  drafted: number
  accepted: number
  /** Of the drafts that had a token at a position, the share that was accepted up to there. */
  acceptedByPosition: number[]
  /** Share of the decoding time that drafting took. */
  draftShare: number
  /** Laps by who drafted for them; 'none' are those without a draft. */
  drafters: Partial<Record<DrafterName | 'none', { laps: number, drafted: number, accepted: number }>>
}

/** Counts what became of drafts. */
export class SpeculationRecord {
  private laps = 0
  private draftMs = 0
  private lapMs = 0
  private readonly reached: number[] = []
  private readonly right: number[] = []
  private readonly drafters: SpeculationSummary['drafters'] = {}

  add ({ drafter, drafted, depth, accepted, draftMs, lapMs }: { drafter: DrafterName | 'none', drafted: number, depth: number, accepted: number, draftMs: number, lapMs: number }): void {
    this.laps++
    this.draftMs += draftMs
    this.lapMs += lapMs
    for (let i = 0; i < depth; i++) {
      this.reached[i] = (this.reached[i] ?? 0) + 1
      this.right[i] = (this.right[i] ?? 0) + (i < accepted ? 1 : 0)
    }
    const own = this.drafters[drafter] ??= { laps: 0, drafted: 0, accepted: 0 }
    own.laps++
    own.drafted += drafted
    own.accepted += accepted
  }

  summary (): SpeculationSummary {
    const all = Object.values(this.drafters)
    const accepted = all.reduce((sum, own) => sum + own.accepted, 0)
    const ms = this.draftMs + this.lapMs
    return {
      laps: this.laps,
      tokensPerLap: this.laps === 0 ? 0 : (this.laps + accepted) / this.laps,
      drafted: all.reduce((sum, own) => sum + own.drafted, 0),
      accepted,
      acceptedByPosition: this.reached.map((count, i) => this.right[i] / count),
      draftShare: ms === 0 ? 0 : this.draftMs / ms,
      drafters: this.drafters
    }
  }
}
