import { ModelError } from '../../../model-tools/index.js'
import type { LapSpent } from '../attention-client.js'
import { chain, checkDraft, type Draft, draftDepth } from './draft.js'
import { DRAFTER_NAMES, type Drafter, type DrafterName, type ModelContext } from './drafter.js'
import { type Match, PromptLookup } from './lookup.js'
import { type Candidate, type Decision, DraftPolicy, MAX_DRAFT } from './policy.js'
import { SpeculationRecord } from './record.js'

/** Who drafts: 'auto' is whoever pays. */
export const DRAFT_CHOICES = ['auto', 'none', ...DRAFTER_NAMES] as const
export type DraftChoice = typeof DRAFT_CHOICES[number]

export interface SpeculationOptions {
  /** Who proposes tokens that the model confirms several a lap. The text is the same whoever does. @default 'auto' */
  draft?: DraftChoice
  /** Tokens of every draft. @default by what is measured of acceptance and laps, none where drafting does not pay */
  draftTokens?: number
}

/** What all generations of a client share: drafters that are there, and what was measured. */
export interface SpeculationInit {
  drafters: Partial<Record<DrafterName, Drafter<ModelContext>>>
  policy: DraftPolicy
}

/** From so many equal tokens on a match is another kind of case than a shorter one: mostly a copy. */
const LONG_MATCH = 4

/** Tells a sequence's laps which tokens to try, and learns from what becomes of them. */
export class Speculator {
  readonly record = new SpeculationRecord()
  private readonly lookup: PromptLookup | undefined
  private readonly named: DrafterName[]
  private readonly draftTokens?: number

  /** @throws ModelError 'unsupported' for a drafter that the model does not have, 'out-of-range' for a number of tokens that no draft can have */
  constructor (private readonly init: SpeculationInit, private readonly vocabSize: number, { draft = 'auto', draftTokens }: SpeculationOptions) {
    if (draftTokens !== undefined && !(Number.isInteger(draftTokens) && draftTokens >= 1 && draftTokens <= MAX_DRAFT)) {
      throw new ModelError('out-of-range', `A draft has 1 to ${MAX_DRAFT} tokens, not ${draftTokens}.`, { draftTokens })
    }
    if (draft === 'assistant' && init.drafters.assistant === undefined) {
      throw new ModelError('unsupported', 'This bundle has no drafter: convert the checkpoint again with --drafter <checkpoint of its assistant>, or draft by lookup or self.', { draft })
    }
    if (draft === 'self' && init.drafters.self === undefined) {
      throw new ModelError('unsupported', 'This model is all on this machine, so a part of it cannot draft for the whole: draft by lookup or assistant.', { draft })
    }
    if (draft === 'own' && init.drafters.own === undefined) {
      throw new ModelError('unsupported', 'No drafter was given to this client: open it with one (SwarmClientInit.drafter), or draft by lookup, assistant or self.', { draft })
    }
    this.named = draft === 'auto' ? [...DRAFTER_NAMES] : draft === 'none' ? [] : [draft]
    this.draftTokens = draftTokens
    if (this.named.includes('lookup')) this.lookup = new PromptLookup(vocabSize)
  }

  /** Every token of the text, prompt and answer, in order. */
  push (token: number): void { this.lookup?.push(token) }

  /**
   * The tokens to try after `context.tokens`, at most `room`, where so many sequences are `running`. `done` is to be called when the lap that tries them has ended, with the places of
   * the draft that were right.
   */
  async draft (context: ModelContext, room: number, running: number): Promise<Draft & { done: (right: number[], lapMs: number, spent: LapSpent) => void }> {
    const { policy, drafters } = this.init
    const match = this.lookup?.match()
    const candidates = this.candidates(match, context, room)
    const decision = this.draftTokens === undefined ? policy.decide(candidates, room, running) : policy.decideFixed(candidates, Math.min(room, this.draftTokens))
    const start = performance.now()
    const draft = await draftBy(decision, drafters, { lookup: this.lookup, match }, context)
    const draftMs = performance.now() - start
    if (drafterOf(decision) === 'own') checkDraft(draft, decision.length, this.vocabSize)
    return {
      ...draft,
      done: (right, lapMs, { waitMs, computeMs }) => {
        const drafted = draft.tokens.length
        policy.observe({ ...decision, drafted, right, draftMs, lapMs: lapMs - waitMs, computeMs })
        this.record.add({ drafter: drafted === 0 ? 'none' : drafterOf(decision), drafted, depth: draftDepth(draft), accepted: right.length, draftMs, lapMs })
      }
    }
  }

  private candidates (match: Match | undefined, { tokens }: ModelContext, room: number): Candidate[] {
    const found: Candidate[] = []
    if (match !== undefined) found.push({ arm: match.length < LONG_MATCH ? 'lookup/short' : 'lookup/long', most: Math.min(room, tokens.length - match.next) })
    for (const name of ['assistant', 'self', 'own'] as const) {
      if (this.named.includes(name) && this.init.drafters[name] !== undefined) found.push({ arm: name, most: room })
    }
    return found
  }
}

async function draftBy (decision: Decision, drafters: SpeculationInit['drafters'], { lookup, match }: { lookup?: PromptLookup, match?: Match }, context: ModelContext): Promise<Draft> {
  const name = drafterOf(decision)
  if (name === 'lookup') return chain(match === undefined ? [] : lookup?.after(match, decision.length) ?? [])
  return name === 'none' ? chain([]) : await drafters[name]?.draft(context, decision.length) ?? chain([])
}

function drafterOf ({ arm }: Decision): DrafterName | 'none' {
  return DRAFTER_NAMES.find(name => arm?.split('/')[0] === name) ?? 'none'
}
