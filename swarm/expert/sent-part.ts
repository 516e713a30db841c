import type { WireDtype } from '../interface.js'
import type { RequestSize } from '../selection/latency.js'
import type { RequestPart } from './codec.js'
import type { Asked } from './hedge.js'
import type { Session } from './sessions.js'

/** A part that is with a peer. */
export interface SentPart extends Asked {
  part: RequestPart
  session: Session
  size: RequestSize
  sentAtMs: number
  dtype: WireDtype
  /** The same request with somebody else, to be compared: undefined for most. */
  audit?: SentPart | 'nobody'
}

/** Whether a peer has every expert that a part asks for. */
export function holdsAll ({ peer }: Session, { layer, experts }: RequestPart): boolean {
  const held = peer.hosted.layer(layer)
  return held != null && experts.every(expert => held[expert] === 1)
}
