import { type ExpertBatch, type ExpertCompute, type ExpertSum, SwarmError } from '../../swarm/index.js'
import type { ExpertHost } from './expert-host.js'

/** The compute of a peer that is seen by others before it hosts anything: what it will host they should know. */
export class LateCompute implements ExpertCompute {
  /** Absent until the first experts are loaded. */
  host: ExpertHost | undefined

  /** `capacity`: compute workers. */
  constructor (readonly capacity: number) {}

  get load (): number { return this.host?.load ?? 0 }

  async compute (batch: ExpertBatch, signal?: AbortSignal): Promise<ExpertSum> {
    if (this.host === undefined) throw new SwarmError('not-hosted', 'No experts are loaded yet.', {})
    return await this.host.compute(batch, signal)
  }
}
