import { randomBytes } from 'node:crypto'
import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { DispatchResult, ExpertBatch, ExpertDispatcher } from '../../swarm/index.js'

/** Uses of a layer's experts from which on all are halved: what is used now counts more than what was used long ago. */
const MOST_USES = 1_000_000

/** Bytes of a file that is read; of 100 layers of 256 experts it has 200 KB at most. */
const MAX_FILE_BYTES = 4 * 1024 * 1024

/** How often each expert of a model was chosen, over the runs of this user. */
export class ExpertUse {
  /** [layers][experts] */
  private readonly uses: Float64Array[]
  private counted = false

  constructor (layers: number, experts: number) {
    this.uses = Array.from({ length: layers }, () => new Float64Array(experts))
  }

  /** What `save` has kept; nothing is known where there is no such file, or one of another shape. */
  static async load (file: string, layers: number, experts: number): Promise<ExpertUse> {
    const use = new ExpertUse(layers, experts)
    const kept = await read(file)
    if (!Array.isArray(kept) || kept.length !== layers || !kept.every(row => isCounts(row, experts))) return use
    for (const [layer, row] of (kept as number[][]).entries()) use.uses[layer].set(row)
    return use
  }

  add ({ layer, experts }: ExpertBatch): void {
    const uses = this.uses[layer]
    for (let at = 0; at < experts.length; at++) uses[experts[at]]++
    this.counted ||= experts.length > 0
  }

  /** Uses of the experts [firstExpert, firstExpert + experts) of a layer. */
  of ({ layer, firstExpert, experts }: { layer: number, firstExpert: number, experts: number }): number {
    return sum(this.uses[layer].subarray(firstExpert, firstExpert + experts))
  }

  /** Replaces the file in one step, if anything was counted. */
  async save (file: string): Promise<void> {
    if (!this.counted) return
    for (const uses of this.uses) {
      while (sum(uses) > MOST_USES) for (let expert = 0; expert < uses.length; expert++) uses[expert] = Math.floor(uses[expert] / 2)
    }
    const fresh = `${file}.${randomBytes(6).toString('hex')}.tmp`
    await mkdir(dirname(file), { recursive: true, mode: 0o700 })
    try {
      await writeFile(fresh, JSON.stringify(this.uses.map(uses => [...uses])), { mode: 0o600 })
      await rename(fresh, file)
    } finally {
      await rm(fresh, { force: true })
    }
  }
}

/** Counts the experts of what it passes on. */
export class CountedDispatcher implements ExpertDispatcher {
  constructor (private readonly use: ExpertUse, private readonly dispatcher: ExpertDispatcher) {}

  dispatch (batch: ExpertBatch, signal?: AbortSignal): Promise<DispatchResult> {
    this.use.add(batch)
    return this.dispatcher.dispatch(batch, signal)
  }

  sharesCores (layer: number): boolean { return this.dispatcher.sharesCores?.(layer) === true }
}

/** Undefined for what is no JSON, too large, or cannot be read: a count is no reason to fail. */
async function read (file: string): Promise<unknown> {
  try {
    const handle = await open(file, 'r')
    try {
      if ((await handle.stat()).size > MAX_FILE_BYTES) return undefined
      return JSON.parse(await handle.readFile('utf8')) as unknown
    } finally {
      await handle.close()
    }
  } catch {
    return undefined
  }
}

function isCounts (row: unknown, experts: number): boolean {
  return Array.isArray(row) && row.length === experts && row.every(count => Number.isSafeInteger(count) && count >= 0)
}

function sum (uses: Float64Array): number {
  return uses.reduce((total, count) => total + count, 0)
}
