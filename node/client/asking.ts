import type { DispatchResult, ExpertBatch, ExpertDispatcher } from '../../swarm/index.js'
import type { LapProfile } from './lap-profile.js'
import type { Sending, SharedRequests } from './shared-requests.js'

/** A layer's experts on their way. */
export interface Asked {
  result: Promise<DispatchResult>
  /** When they were asked for; undefined before. */
  sending?: Sending
}

/** A request of a lap's own. */
export function askAlone (batch: ExpertBatch, dispatcher: ExpertDispatcher, profile: LapProfile, signal?: AbortSignal): Asked {
  const fromMs = performance.now()
  const result = dispatcher.dispatch(batch, signal)
  return { result, sending: { fromMs, toMs: profile.add(batch.layer, 'send', fromMs) } }
}

/** A part in the request of all laps that meet at the layer. The lap whose turn the sending is part of spends it there, the others while they wait. */
export function askTogether (requests: SharedRequests, batch: ExpertBatch, dispatcher: ExpertDispatcher, profile: LapProfile, signal?: AbortSignal): Asked {
  const asked: Asked = {
    result: requests.add(batch, dispatcher, (sending, last) => {
      if (last) profile.add(batch.layer, 'send', sending.fromMs)
      asked.sending = sending
    }, signal)
  }
  return asked
}
