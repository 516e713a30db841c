import * as limits from '../constants.js'
import type { HostedBlock } from '../interface.js'
import { isFirst, placeOf } from './order.js'

/** A live peer, other than this one, that holds a block. */
export interface BlockHolder {
  peerId: string
  /** Compute workers, as its manifest says. */
  capacity: number
  /**
   * Absent: it serves the block. 'fetching': it will. 'intended': it would like to, and gives way to whom the hash over peer and layer puts first, as
   * long as something else is covered less.
   */
  stage?: 'intended' | 'fetching'
}

/** A block of the model, with its size and who else has it. */
export interface PlacementBlock extends HostedBlock {
  bytes: number
  holders: readonly BlockHolder[]
}

/** What the damping remembers between two plans: each plan takes the state of the one before. */
export interface PlacementState {
  /** No move before this, except to fill a hole. */
  holdUntilMs: number
}

export interface PlacementInput {
  /** Of this peer. */
  peerId: string
  budgetBytes: number
  /** Every block of the model. */
  blocks: readonly PlacementBlock[]
  /** What this peer holds, being fetched included. */
  own: readonly HostedBlock[]
  /** What this peer has said that it would like to host: preferred to what is covered as little. */
  intended?: readonly HostedBlock[]
  /** Whether `blocks` have all holders; of a sample of a large swarm, differences that may be chance move nothing. @default true */
  whole?: boolean
  /** Of the epoch: peers take turns by it. */
  nowMs: number
  /** Absent: the first plan of this peer. */
  state?: PlacementState
  /** In [0, 1). */
  random: () => number
  /** Between two moves, at least. @default PLACEMENT_HOLD_MS */
  holdMs?: number
  /** How long one peer may move to a block before it is another's turn; the same for all peers of a swarm. @default PLACEMENT_TURN_MS */
  turnMs?: number
  /** The same for a block that nobody holds. @default PLACEMENT_HOLE_TURN_MS */
  holeTurnMs?: number
  /** Blocks exchanged at a time. @default PLACEMENT_MAX_MOVES */
  maxMoves?: number
}

export type PlacementReason =
  /** Take: nobody live holds it. */
  | 'hole'
  /** Take: nothing that fits is covered less. */
  | 'least-covered'
  /** Take: as little covered as others, and of a layer of which this peer has a part: one peer with a whole layer saves a client requests. */
  | 'completes-layer'
  /** Take or drop: both sides of an exchange that lifts the worse covered of the two blocks. */
  | 'move'
  /** Drop: the budget is smaller than what this peer holds. */
  | 'over-budget'

/** Why nothing is moved. */
export type PlacementRest =
  /** No exchange would lift the worst coverage enough. */
  | 'balanced'
  /** An exchange is worthwhile, but the last one was too short ago, or it is another peer's turn. */
  | 'holding'

export interface PlacementPlan {
  /** To obtain and host, in this order. */
  take: HostedBlock[]
  /** To give up, once what is taken instead is hosted. */
  drop: HostedBlock[]
  reasons: Array<{ action: 'take' | 'drop', block: HostedBlock, reason: PlacementReason }>
  /** Absent: something is taken or dropped. */
  rest?: PlacementRest
  /** For the next plan. */
  state: PlacementState
}

/** A block as the plan goes: what is taken and dropped changes it. */
interface Cell {
  readonly block: PlacementBlock
  /** Of the other peers that hold it or will; of those that would like to, only the ones that this peer gives way to. */
  weight: number
  /** Of those that hold it. */
  readonly servedWeight: number
  own: boolean
  readonly intended: boolean
  /** In [0, 1): decides between equals. */
  readonly tie: number
}

interface Planning {
  readonly input: PlacementInput
  readonly cells: Cell[]
  readonly plan: PlacementPlan
  freeBytes: number
  /** Ids of all others that hold anything. */
  readonly others: ReadonlySet<string>
}

/**
 * Which blocks a volunteer should host. What fits is taken at once, the least covered first; of several that would like to take the same, a hash says
 * who gives way (`stage`), so that those that start together and tell each other what they intend need a few looks until nobody has what another has. Once the budget is full, blocks are exchanged with
 * damping: only for a block that is covered worse by PLACEMENT_MIN_RATIO, even when the other one has been given up; a few at a time; after a hold
 * with jitter; and in turns: at a time, one peer of all may move to a block, and a hash gives all the same idea of which. An exchange never takes the
 * last replica: another hash says which holder keeps the block. The budget is above all: when it shrinks, even the last replica goes. Pure: the clock and `random` are arguments.
 */
export function planPlacement (input: PlacementInput): PlacementPlan {
  const planning = begin(input)
  const { plan } = planning
  shrink(planning)
  fill(planning)
  if (plan.take.length > 0 || plan.drop.length > 0) {
    plan.state = holding(input)
  } else {
    exchange(planning)
  }
  return plan
}

function begin (input: PlacementInput): Planning {
  const own = new Set(input.own.map(keyOf))
  const intended = new Set(input.intended?.map(keyOf))
  const cells = input.blocks.map(block => {
    const mine = own.has(keyOf(block))
    const weigh = (holders: BlockHolder[]): number => holders.reduce((sum, { capacity }) => sum + weightOf(capacity), 0)
    const servedWeight = weigh(block.holders.filter(({ stage }) => stage === undefined))
    const weight = weigh(block.holders.filter(({ peerId, stage }) => stage !== 'intended' || !isFirst(input.peerId, [peerId], `${block.layer}`)))
    return { block, weight, servedWeight, own: mine, intended: intended.has(keyOf(block)), tie: input.random() }
  })
  const heldBytes = cells.reduce((sum, { own, block }) => sum + (own ? block.bytes : 0), 0)
  const others = new Set(input.blocks.flatMap(({ holders }) => holders.filter(serves).map(({ peerId }) => peerId)))
  const state = input.state ?? { holdUntilMs: input.nowMs }
  return {
    input, cells, others, freeBytes: input.budgetBytes - heldBytes, plan: { take: [], drop: [], reasons: [], state }
  }
}

/** Drops the best covered until the budget suffices. */
function shrink (planning: Planning): void {
  const held = planning.cells.filter(({ own }) => own).sort((a, b) => b.servedWeight - a.servedWeight || a.tie - b.tie)
  for (const cell of held) {
    if (planning.freeBytes >= 0) return
    drop(planning, cell, 'over-budget')
  }
}

function fill (planning: Planning): void {
  // What was dropped for want of room is not taken back.
  const dropped = new Set(planning.plan.drop.map(keyOf))
  const open = planning.cells.filter(({ own, block }) => !own && !dropped.has(keyOf(block)))
  for (;;) {
    const next = leastCovered(planning, open.filter(({ own, block }) => !own && block.bytes <= planning.freeBytes))
    if (next == null) return
    const reason = next.weight === 0 ? 'hole' : ownsOfLayer(planning, next) ? 'completes-layer' : 'least-covered'
    take(planning, next, reason)
  }
}

/** Of the least covered: next to what this peer has of a layer, else of such a layer, else where most of a new layer can be had. */
function leastCovered (planning: Planning, open: Cell[]): Cell | undefined {
  const level = open.reduce((least, { weight }) => Math.min(least, levelOf(weight)), Infinity)
  const least = open.filter(({ weight }) => levelOf(weight) === level)
  const layerBytes = new Map<number, number>()
  for (const { block: { layer, bytes } } of least) {
    layerBytes.set(layer, Math.min(planning.freeBytes, (layerBytes.get(layer) ?? 0) + bytes))
  }
  const owned = new Set(planning.cells.filter(({ own }) => own).map(({ block }) => block.layer))
  const edges = new Set(planning.cells.filter(({ own }) => own).flatMap(({ block }) => [
    edgeOf(block.layer, block.firstExpert), edgeOf(block.layer, block.firstExpert + block.experts)
  ]))
  // Who has precedence in a layer also begins with it, so that few give way.
  const order = ({ block }: Cell): number => placeOf(planning.input.peerId, `${block.layer}`)
  const rank = ({ block, intended }: Cell): number => {
    if (intended) return -1
    if (edges.has(edgeOf(block.layer, block.firstExpert)) || edges.has(edgeOf(block.layer, block.firstExpert + block.experts))) return 0
    return owned.has(block.layer) ? 1 : 2
  }
  return least.sort((a, b) => rank(a) - rank(b) ||
    (layerBytes.get(b.block.layer) ?? 0) - (layerBytes.get(a.block.layer) ?? 0) ||
    order(b) - order(a) ||
    a.block.firstExpert - b.block.firstExpert)[0]
}

/** Exchanges blocks, or says why not. */
function exchange (planning: Planning): void {
  const { input, plan } = planning
  const maxMoves = input.maxMoves ?? limits.PLACEMENT_MAX_MOVES
  let worth = false
  while (plan.take.length < maxMoves) {
    const { pair, worthwhile } = bestPair(planning)
    worth ||= worthwhile
    if (pair == null) break
    drop(planning, pair.from, 'move')
    take(planning, pair.to, 'move')
  }
  if (plan.take.length > 0) plan.state = holding(input)
  else plan.rest = worth ? 'holding' : 'balanced'
}

interface Pair {
  from: Cell
  to: Cell
}

/** The least covered block whose turn it is, and the best covered one that may be given up for it; and whether any exchange is worthwhile. */
function bestPair (planning: Planning): { pair?: Pair, worthwhile: boolean } {
  const { cells, freeBytes, input, plan, others } = planning
  const held = input.nowMs < plan.state.holdUntilMs
  const taken = new Set(plan.take.map(keyOf))
  const given = new Set(plan.drop.map(keyOf))
  const givable = cells
    .filter(({ own, block }) => own && !taken.has(keyOf(block)) && !keeps(input.peerId, block))
    .sort((a, b) => b.servedWeight - a.servedWeight || a.tie - b.tie)
  const wanted = cells.filter(({ own, block }) => !own && !given.has(keyOf(block))).sort((a, b) => a.weight - b.weight || a.tie - b.tie)
  let any = false
  for (const to of wanted) {
    // All that follow are covered at least as well.
    if (givable.length === 0 || !isWorthwhile(input, to, givable[0])) break
    const room = givable.filter(from => from.block.bytes + freeBytes >= to.block.bytes && isWorthwhile(input, to, from))
    any ||= room.length > 0
    const hole = to.weight === 0
    if (room.length > 0 && (hole || !held) && isTurn(input, others, to)) return { pair: { from: room[0], to }, worthwhile: true }
  }
  return { worthwhile: any }
}

/** Whether of all peers that do not hold the block it is this one that may now move to it. Clocks that differ only make two turns overlap. */
function isTurn ({ peerId, nowMs, turnMs, holeTurnMs }: PlacementInput, others: Iterable<string>, { block, weight }: Cell): boolean {
  const lengthMs = weight === 0 ? holeTurnMs ?? limits.PLACEMENT_HOLE_TURN_MS : turnMs ?? limits.PLACEMENT_TURN_MS
  const turn = Math.floor(nowMs / lengthMs)
  if (nowMs - turn * lengthMs >= lengthMs / 2) return false
  const holders = new Set(block.holders.filter(serves).map(holder => holder.peerId))
  return isFirst(peerId, [...others].filter(other => !holders.has(other)), `${keyOf(block)}/${turn}`)
}

function holding ({ nowMs, random, holdMs = limits.PLACEMENT_HOLD_MS }: PlacementInput): PlacementState {
  return { holdUntilMs: nowMs + holdMs * (1 + random()) }
}

/** Of two blocks, the worse covered one gains, and the one given up stays the better covered; a hole is worth all but another hole. */
function isWorthwhile ({ whole = true }: PlacementInput, to: Cell, from: Cell): boolean {
  if (to.weight === 0) return from.servedWeight > 0
  // Of a sample, three times what chance makes of it.
  return from.servedWeight >= to.weight * limits.PLACEMENT_MIN_RATIO && (whole || from.servedWeight - to.weight >= 3 * Math.sqrt(from.servedWeight + to.weight))
}

function serves ({ stage }: BlockHolder): boolean {
  return stage === undefined
}

/** Whether this peer, of all holders, is the one that does not give the block up: so two that see the same never give up the last two replicas. */
function keeps (peerId: string, block: PlacementBlock): boolean {
  return isFirst(peerId, block.holders.filter(serves).map(holder => holder.peerId), keyOf(block))
}

function take (planning: Planning, cell: Cell, reason: PlacementReason): void {
  cell.own = true
  planning.freeBytes -= cell.block.bytes
  const block = plainBlock(cell.block)
  planning.plan.take.push(block)
  planning.plan.reasons.push({ action: 'take', block, reason })
}

function drop (planning: Planning, cell: Cell, reason: PlacementReason): void {
  cell.own = false
  planning.freeBytes += cell.block.bytes
  const block = plainBlock(cell.block)
  planning.plan.drop.push(block)
  planning.plan.reasons.push({ action: 'drop', block, reason })
}

/** A peer's word for its capacity is worth no more than PLACEMENT_MAX_WEIGHT. */
function weightOf (capacity: number): number {
  return Math.min(limits.PLACEMENT_MAX_WEIGHT, Math.sqrt(Math.max(1, capacity)))
}

/** Weights within a factor of about the square root of 2 are equal enough for whole layers to be preferred; a hole is like nothing else. */
function levelOf (weight: number): number {
  return weight === 0 ? 0 : 1 + Math.round(Math.log2(weight) * 2)
}

function ownsOfLayer ({ cells }: Planning, { block: { layer } }: Cell): boolean {
  return cells.some(({ own, block }) => own && block.layer === layer)
}

function plainBlock ({ layer, firstExpert, experts }: HostedBlock): HostedBlock {
  return { layer, firstExpert, experts }
}

export function keyOf ({ layer, firstExpert, experts }: HostedBlock): string {
  return `${layer}:${firstExpert}:${experts}`
}

/** Where a block of a layer begins or ends. */
function edgeOf (layer: number, expert: number): string {
  return `${layer}:${expert}`
}
