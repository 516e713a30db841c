/** Speculative decoding: drafters propose tokens, the model confirms several in one lap, and the text is the same as without. */
export { Assistant } from './assistant.js'
export { DRAFTER_NAMES, type DraftContext, type Drafter, type DrafterName } from './drafter.js'
export { PromptLookup } from './lookup.js'
export { type Candidate, type Decision, DraftPolicy, type LapOutcome, MAX_DRAFT } from './policy.js'
export type { SpeculationSummary } from './record.js'
export { LocalOnly, SelfDrafter } from './self.js'
export { DRAFT_CHOICES, type DraftChoice, type SpeculationInit, type SpeculationOptions, Speculator } from './speculator.js'
export { confirm } from './verify.js'
