import * as limits from '../constants.js'

/**
 * Who served each layer last. An incumbent counts as a little faster than it is, so that a layer changes to another peer for a clear gain only and
 * near-equal peers do not take turns: their caches stay warm. A peer that fails or that is late is no match for that.
 */
export class Incumbents {
  readonly #byLayer = new Map<number, readonly string[]>()

  /** The expected time of a peer as a plan should compare it, in milliseconds. */
  rankMs (layer: number, peerId: string, expectedMs: number): number {
    if (this.#byLayer.get(layer)?.includes(peerId) !== true) return expectedMs
    return Math.max(0, expectedMs - Math.max(expectedMs * limits.SWITCH_MIN_GAIN, limits.SWITCH_MIN_GAIN_MS))
  }

  served (layer: number, peerIds: readonly string[]): void {
    this.#byLayer.set(layer, peerIds)
  }
}
