import { Acceptance } from './acceptance.js'
import { LapCost } from './lap-cost.js'

/** Tokens of the longest draft. A lap that confirms more costs too much on any link. */
export const MAX_DRAFT = 32

/** Laps without a draft at the beginning: what drafting is compared with. One, for a text may have thirty laps in all. */
const PLAIN_LAPS = 1

/** Drafting must promise this much more than not drafting: figures are uncertain, and a plain lap is a sure thing. */
const MARGIN = 1.03

/** What is not best is tried again after so many laps, at first and at most, and later where it promises less; a try that changes nothing doubles them. */
const FIRST_PAUSE = 16
const LONGEST_PAUSE = 256

/** Tokens of a try. */
const TRY_LENGTH = 2

/** A draft may be so many times as long as all drafts of the same kind before it; the first has so many tokens. */
const RAMP = 4

/** Drafts over which the time of drafting is averaged. */
const RECENT_DRAFTS = 8

/** A drafter that has something to propose now. */
export interface Candidate {
  /** What is measured together: a drafter, or a drafter in one kind of case. */
  arm: string
  /** Tokens that it can propose at most. */
  most: number
}

export interface Decision {
  /** Whom to ask; absent where a lap without a draft is best. */
  arm?: string
  /** Tokens of the draft. */
  length: number
  /** Not the best by what is known, but to know it better. */
  trial: boolean
}

/** What became of a lap that was decided about. */
export interface LapOutcome extends Decision {
  drafted: number
  /** The places of the draft that were right. */
  right: readonly number[]
  draftMs: number
  /** Without waiting for other sequences' computing. */
  lapMs: number
  /** Of that, what this machine computed: during it, no other sequence could. */
  computeMs: number
}

interface Arm {
  acceptance: Acceptance
  drafts: number
  /** Of drafting, milliseconds a token. */
  tokenMs: number
  lastLap: number
  pause: number
  /** When a draft longer than the best one was tried, and how long that was. */
  longer: { lastLap: number, pause: number, length: number }
}

interface Option extends Decision {
  /** Tokens a millisecond. */
  rate: number
  known: Arm
}

/**
 * Decides who drafts and how much: what gives most tokens a second by what was measured of acceptance, drafting and laps. What is not known yet
 * is taken for good, and tried with short drafts; what has been found worse, drafting itself included, is tried again after ever longer pauses.
 *
 * A lap costs the time that it takes by itself, or what it keeps all sequences from computing, whichever is more: one that waits for the network most of the time may draft
 * much, and where sequences wait for each other a draft must pay for what it makes the others wait.
 */
export class DraftPolicy {
  private readonly arms = new Map<string, Arm>()
  private readonly plain = newArm()
  private readonly laps = new LapCost()
  private readonly computing = new LapCost()
  private lap = 0

  /** `room`: tokens that a draft may have at most where the text must end; `running`: sequences that decode now, this one included. */
  decide (candidates: Candidate[], room = MAX_DRAFT, running = 1): Decision {
    if (this.plain.drafts < PLAIN_LAPS || room < 1) return { length: 0, trial: false }
    const plain: Option = { length: 0, trial: false, rate: MARGIN / this.costMs(1, 0, running), known: this.plain }
    const options = [plain, ...candidates.map(candidate => this.bestLength(candidate, room, running))]
    const best = options.reduce((a, b) => b.rate > a.rate ? b : a)
    const overdue = ({ known, rate }: Option): number => this.lap - known.lastLap - known.pause * best.rate / rate
    const trial = options.filter(option => option !== best && overdue(option) > 0).sort((a, b) => overdue(b) - overdue(a)).at(0)
    if (trial === undefined) return this.orLonger(best, candidates, room)
    trial.known.lastLap = this.lap // Other sequences decide before this lap ends: one try is enough.
    return { arm: trial.arm, length: Math.min(trial.length, TRY_LENGTH), trial: true }
  }

  /** The candidate that promises most with a draft of `length` tokens, or with as many as it has. */
  decideFixed (candidates: Candidate[], length: number): Decision {
    let best: (Decision & { rate: number }) | undefined
    for (const { arm, most } of candidates) {
      const own = Math.min(most, length)
      const rate = this.rates(this.arm(arm), own)[own]
      if (own > 0 && (best === undefined || rate > best.rate)) best = { arm, length: own, trial: false, rate }
    }
    return best === undefined ? { length: 0, trial: false } : { arm: best.arm, length: best.length, trial: false }
  }

  observe ({ arm: name, trial, drafted, right, draftMs, lapMs, computeMs }: LapOutcome): void {
    this.lap++
    this.laps.observe(1 + drafted, lapMs)
    this.computing.observe(1 + drafted, computeMs)
    const arm = name === undefined ? this.plain : this.arm(name)
    arm.drafts++
    arm.lastLap = this.lap
    arm.pause = trial ? Math.min(2 * arm.pause, LONGEST_PAUSE) : FIRST_PAUSE
    if (drafted === 0) return
    arm.acceptance.observe(drafted, right)
    arm.tokenMs += (draftMs / drafted - arm.tokenMs) / Math.min(arm.drafts, RECENT_DRAFTS)
  }

  /** Twice as long a draft where that was not tried for long: of places that are not drafted nothing is learnt, and a lap with them may cost less than the line through shorter ones says. */
  private orLonger ({ arm, length, known: { longer } }: Option, candidates: Candidate[], room: number): Decision {
    const most = Math.min(2 * length, room, MAX_DRAFT, candidates.find(candidate => candidate.arm === arm)?.most ?? 0)
    if (most <= length || this.lap - longer.lastLap <= longer.pause) return { arm, length, trial: false }
    const pause = length > longer.length ? FIRST_PAUSE : Math.min(2 * longer.pause, LONGEST_PAUSE)
    Object.assign(longer, { lastLap: this.lap, pause, length })
    return { arm, length: most, trial: false }
  }

  private bestLength ({ arm: name, most }: Candidate, room: number, running: number): Option {
    const known = this.arm(name)
    const rates = this.rates(known, Math.min(most, room, MAX_DRAFT, RAMP ** (1 + known.drafts)), running)
    let length = 1
    for (let n = 2; n < rates.length; n++) if (rates[n] > rates[length]) length = n
    return { arm: name, length, trial: false, rate: rates[length], known }
  }

  private arm (name: string): Arm {
    const known = this.arms.get(name) ?? newArm()
    this.arms.set(name, known)
    return known
  }

  /** Tokens a millisecond with a draft of each length from 0 to `most`. */
  private rates ({ acceptance, tokenMs }: Arm, most: number, running = 1): number[] {
    return acceptance.expected(most).map((tokens, length) => tokens / this.costMs(1 + length, length * tokenMs, running))
  }

  private costMs (tokens: number, draftMs: number, running: number): number {
    return Math.max(draftMs + this.laps.of(tokens), running * (draftMs + this.computing.of(tokens)))
  }
}

function newArm (): Arm {
  return { acceptance: new Acceptance(), drafts: 0, tokenMs: 0, lastLap: 0, pause: FIRST_PAUSE, longer: { lastLap: 0, pause: FIRST_PAUSE, length: 0 } }
}
