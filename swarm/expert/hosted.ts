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
