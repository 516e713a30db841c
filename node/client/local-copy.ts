import { type BlockEntry, type Bundle, ModelError } from '../../model-tools/index.js'
import type { ExpertBatch, RequestPart } from '../../swarm/index.js'
import { ExpertHost, expertHostBytes } from '../host/expert-host.js'
import { restrict } from './local-experts.js'

/**
 * Experts of this machine's bundle that are loaded when they are needed here and no sooner: when peers answer differently, or when nobody else holds them. The
 * blocks that were used last are kept, within `limitBytes`. One request at a time, on a thread of its own: what it is needed for is rare.
 */
export class LocalCopy {
  private host?: Promise<ExpertHost>
  /** The one used last at the end. */
  private loaded: BlockEntry[] = []
  private tail: Promise<unknown> = Promise.resolve()

  constructor (private readonly bundle: Bundle, private readonly limitBytes: number) {}

  /** The part's sum [tokens, hidden size]; undefined where the bundle lacks a block of it, or one is damaged or too large. Rejects with the signal's reason. */
  async compute (part: RequestPart, signal?: AbortSignal): Promise<Float32Array | undefined> {
    const computed = this.tail.then(async () => await this.inTurn(batchOf(part, this.bundle.config.hiddenSize), signal))
    this.tail = computed.catch(() => undefined)
    return await computed
  }

  /** Whether it would compute these experts of a layer. A block that is damaged shows only when it is loaded. */
  async has (layer: number, experts: number[]): Promise<boolean> {
    return await this.blocksOf(layer, experts) !== undefined
  }

  async stop (): Promise<void> {
    await this.tail
    await (await this.host)?.stop()
  }

  private async inTurn (batch: ExpertBatch, signal: AbortSignal | undefined): Promise<Float32Array | undefined> {
    const blocks = await this.blocksOf(batch.layer, batch.experts)
    if (blocks === undefined) return undefined
    const sum = new Float32Array(batch.hidden.length)
    try {
      // Block by block: more than one need not fit.
      for (const block of blocks) {
        const host = await this.load(block, signal)
        const part = await host.compute(restrict(batch, expert => isIn(expert, block)), signal)
        for (let i = 0; i < sum.length; i++) sum[i] += part.sum[i]
      }
    } catch (error) {
      if (error instanceof ModelError) return undefined
      throw error
    }
    return sum
  }

  /** Undefined where the bundle lacks one, or one is too large. */
  private async blocksOf (layer: number, experts: ArrayLike<number>): Promise<BlockEntry[] | undefined> {
    const blocks = this.bundle.blocks.filter(block => layer === block.layer && Array.from(experts).some(expert => isIn(expert, block)))
    for (const block of blocks) if (expertHostBytes(this.bundle, [block]) > this.limitBytes || !await this.bundle.has(block.file)) return undefined
    return blocks
  }

  private async load (block: BlockEntry, signal: AbortSignal | undefined): Promise<ExpertHost> {
    this.host ??= ExpertHost.load({ bundle: this.bundle, blocks: [], threads: 1 })
    const host = await this.host
    const others = this.loaded.filter(({ file }) => file !== block.file)
    if (others.length === this.loaded.length) {
      const dropped: BlockEntry[] = []
      while (expertHostBytes(this.bundle, [...others, block]) > this.limitBytes) dropped.push(...others.splice(0, 1))
      this.loaded = others
      if (dropped.length > 0) await host.remove(dropped)
      await host.add([block], { signal })
    }
    this.loaded = [...others, block]
    return host
  }
}

function isIn (expert: number, { firstExpert, experts }: BlockEntry): boolean {
  return expert >= firstExpert && expert < firstExpert + experts
}

/** With the part's rows alone. */
function batchOf ({ layer, tokens, hidden, rows, counts, experts, weights }: RequestPart, H: number): ExpertBatch {
  if (rows === undefined) return { layer, tokens, hidden: hidden.subarray(0, tokens * H), counts, experts, weights }
  const own = new Float32Array(tokens * H)
  rows.forEach((row, t) => { own.set(hidden.subarray(row * H, (row + 1) * H), t * H) })
  return { layer, tokens, hidden: own, counts, experts, weights }
}
