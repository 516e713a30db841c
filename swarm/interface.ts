/**
 * The experts that some tokens of one layer need. Token t owns the next `counts[t]` entries of `experts` and `weights`
 * (compressed rows), so a request to a peer names only the experts that this peer shall compute.
 */
export interface ExpertBatch {
  layer: number
  tokens: number
  /** [tokens, hidden size], the expert input. */
  hidden: Float32Array
  /** [tokens], how many experts each token asks for; 0 is allowed. */
  counts: Uint16Array
  /** [sum of counts], expert ids. */
  experts: Uint16Array
  /** [sum of counts], router weights, applied to each expert's output. */
  weights: Float32Array
  /**
   * W3C trace ids, 32 hex digits each, of the texts whose tokens these are: the batch's requests are named by them here and at the peers, see the events 'request-answered' and
   * 'request-served'. @default not traced
   */
  traceIds?: readonly string[]
}

/** What an expert host answers: sum over a token's experts of weight * expert(hidden). */
export interface ExpertSum {
  /** [tokens, hidden size] */
  sum: Float32Array
  /** Microseconds that the batch waited for a compute worker. */
  queueMicros: number
  /** Microseconds of computing. */
  serviceMicros: number
}

/** Where a lap's time at the experts went, in milliseconds. Network, queue and service are of the slowest peer, the others sums over all. */
export interface DispatchTiming {
  encodeMs: number
  /** From the last byte handed to the socket to the reply, less queue and service. */
  networkMs: number
  queueMs: number
  serviceMs: number
  decodeMs: number
  /** Adding up the partial sums. */
  combineMs: number
  /** Id of the slowest peer; undefined where nobody else was asked. */
  slowestPeer?: string
}

export interface DispatchResult {
  /** [tokens, hidden size], summed in an order that does not depend on the order of arrival. */
  sum: Float32Array
  timing: DispatchTiming
  /** Peers of which a reply went in before it was compared with another's. @default none */
  unchecked?: readonly string[]
}

/** Computes the chosen experts of a layer, wherever they are. */
export interface ExpertDispatcher {
  /**
   * The request has been handed to its socket or worker before this returns, so the caller computes while it travels.
   * Rejects with SwarmError 'experts-unavailable' naming layer and experts when nobody live holds them.
   */
  dispatch: (batch: ExpertBatch, signal?: AbortSignal) => Promise<DispatchResult>
  /** Whether cores of this machine compute a layer's experts: then nothing is gained by computing beside them. @default false */
  sharesCores?: (layer: number) => boolean
}

/** The compute behind a peer's expert protocol. Implemented in node/host. */
export interface ExpertCompute {
  /** Rejects with SwarmError 'busy' when its queue is full. The batch's experts are all hosted: the service checks first. */
  compute: (batch: ExpertBatch, signal?: AbortSignal) => Promise<ExpertSum>
  /** Batches waiting or running. */
  readonly load: number
  /** Compute workers. */
  readonly capacity: number
}

/** Form of hidden states on the wire. fp32 is exact; int8 has one scale a row. */
export type WireDtype = 'fp32' | 'fp16' | 'int8'

/** What a user asks for: a form, or for each request the one that suits the measured link. */
export type WireChoice = WireDtype | 'auto'

/** Experts [firstExpert, firstExpert + experts) of a layer. */
export interface HostedBlock {
  layer: number
  firstExpert: number
  experts: number
}
