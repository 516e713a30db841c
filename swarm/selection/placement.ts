import type { HostedBlock } from '../interface.js'

/** A live peer, other than this one, that holds a block. */
export interface BlockHolder {
  peerId: string
  /** Compute workers, as its manifest says. */
  capacity: number
}

/** A block of the model, with its size and who else has it. */
export interface PlacementBlock extends HostedBlock {
  bytes: number
  holders: readonly BlockHolder[]
}

/** What the damping remembers between two plans: each plan takes the state of the one before. */
export interface PlacementState {
  /** No move before this, except to fill a hole. Milliseconds of the caller's clock. */
  holdUntilMs: number
  /** When a move that has been found worthwhile is due; undefined while none is. */
  moveAtMs: number | undefined
}

export interface PlacementInput {
  /** Of this peer. */
  peerId: string
  /** Compute workers of this peer. */
  capacity: number
  budgetBytes: number
  /** Every block of the model. */
  blocks: readonly PlacementBlock[]
  /** What this peer holds, being fetched included. */
  own: readonly HostedBlock[]
  nowMs: number
  /** Absent: the first plan of this peer. */
  state?: PlacementState
  /** In [0, 1). */
  random: () => number
  /** Between two moves, at least. @default PLACEMENT_HOLD_MS */
  holdMs?: number
  /** Blocks exchanged at a time. @default PLACEMENT_MAX_MOVES */
  maxMoves?: number
}

export type PlacementReason =
  /** Take: nobody live holds it. */
  | 'hole'
  /** Take: nothing that fits is covered less. */
  | 'least-covered'
  /** Take: as little covered as others, and next to what this peer has of the layer. */
  | 'completes-layer'
  /** Take or drop: both sides of an exchange that lifts the worse covered of the two blocks. */
  | 'move'
  /** Drop: the budget is smaller than what this peer holds. */
  | 'over-budget'

/** Why nothing is moved. */
export type PlacementRest =
  /** No exchange would lift the worst coverage enough. */
  | 'balanced'
  /** An exchange is worthwhile, but the last one was too short ago or the jitter has not run down. */
  | 'holding'
  /** There is a plan. */
  | 'none'

export interface PlacementPlan {
  /** To obtain and host, in this order. */
  take: HostedBlock[]
  /** To give up, once what is taken instead is hosted. */
  drop: HostedBlock[]
  reasons: Array<{ action: 'take' | 'drop', block: HostedBlock, reason: PlacementReason }>
  rest: PlacementRest
  state: PlacementState
}
