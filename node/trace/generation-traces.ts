import { newTraceId, type PeerStats, type SwarmEvent } from '../../swarm/index.js'
import { type RecordInit, TraceRecorder } from './recorder.js'
import { TraceStore } from './store.js'
import type { GenerationTrace } from './trace.js'

/** What a trace tells of the client that generated. */
export interface TracedClient {
  bundle: { id: string }
  peers: () => PeerStats[]
}

/** Records the generations of a client, several at a time, and keeps their traces, also of those that are cut short. Hand `onEvent` to `SwarmClient.open`. */
export class GenerationTraces {
  private readonly running = new Set<TraceRecorder>()
  private readonly saving = new Set<Promise<void>>()
  private ended?: GenerationTrace

  /** @param onProblem - called with a sentence when a trace cannot be kept, which is no reason to fail */
  constructor (private readonly onProblem: (problem: string) => void = () => {}, private readonly store = new TraceStore()) {}

  readonly onEvent = (event: SwarmEvent): void => { for (const recorder of this.running) recorder.onEvent(event) }

  /** A generation starts now. Without a trace id it gets a new one. */
  begin ({ traceId = newTraceId(), ...init }: Omit<RecordInit, 'traceId'> & { traceId?: string }): TraceRecorder {
    const recorder = new TraceRecorder({ traceId, ...init })
    this.running.add(recorder)
    return recorder
  }

  /**
   * A generation has ended; returns its trace, which is being saved, or undefined where there is nothing to tell.
   * @param failure - what it failed with; one that is not done and did not fail was stopped
   */
  end (recorder: TraceRecorder, client: TracedClient, failure?: unknown): GenerationTrace | undefined {
    this.running.delete(recorder)
    const trace = recorder.trace(client.bundle.id, client.peers(), failure instanceof Error ? failure.message : failure === undefined ? undefined : 'an unknown error')
    if (trace === undefined) return undefined
    this.ended = trace
    const saved: Promise<void> = this.store.save(trace)
      .catch((error: unknown) => { this.onProblem(`The record for moeswarm explain could not be kept (${error instanceof Error ? error.message : String(error)}).`) })
      .finally(() => { this.saving.delete(saved) })
    this.saving.add(saved)
    return trace
  }

  /** Of the generation that ended last. */
  get last (): GenerationTrace | undefined { return this.ended }

  /** Returns when all is saved. */
  async settle (): Promise<void> { await Promise.all(this.saving) }
}
