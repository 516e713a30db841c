import * as limits from '../constants.js'
import { SwarmError } from '../errors.js'
import type { ExpertBatch, HostedBlock } from '../interface.js'

/** Which experts of each layer are there, as a map that a hot path can ask. */
export class HostedExperts {
  readonly #layers = new Map<number, Uint8Array>()

  /** The blocks lie within a model of `experts` experts a layer. */
  constructor (readonly blocks: readonly HostedBlock[], experts: number) {
    for (const { layer, firstExpert, experts: count } of blocks) {
      let held = this.#layers.get(layer)
      if (held == null) {
        held = new Uint8Array(experts)
        this.#layers.set(layer, held)
      }
      held.fill(1, firstExpert, firstExpert + count)
    }
  }

  /** [experts], 1 where hosted; undefined when nothing of the layer is. */
  layer (layer: number): Uint8Array | undefined {
    return this.#layers.get(layer)
  }

  /** Ascending. */
  get layers (): number[] {
    return [...this.#layers.keys()].sort((a, b) => a - b)
  }

  holdsAll (batch: Pick<ExpertBatch, 'layer' | 'experts'>): boolean {
    const held = this.#layers.get(batch.layer)
    if (held == null) return batch.experts.length === 0
    for (let i = 0; i < batch.experts.length; i++) {
      if (held[batch.experts[i]] !== 1) return false
    }
    return true
  }
}

/** Throws SwarmError 'malformed' unless all blocks lie within a model of this many layers and experts a layer. */
export function checkBlocks (blocks: readonly HostedBlock[], experts: number, layers: number): void {
  if (blocks.length > limits.MANIFEST_MAX_BLOCKS) throw malformed('too many blocks')
  for (const block of blocks) {
    if (block.layer >= layers) throw malformed('a layer outside of the model')
    if (block.experts < 1 || block.firstExpert + block.experts > experts) throw malformed('experts outside of the model')
  }
}

function malformed (reason: string): SwarmError<'malformed'> {
  return new SwarmError('malformed', `A peer names ${reason}.`, { reason })
}
