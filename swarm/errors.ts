/** Every way in which the swarm can fail, with what a program needs to act on it. */
export interface SwarmErrorData {
  /** Nobody live holds these experts of the layer, after looking again and waiting. */
  'experts-unavailable': { layer: number, experts: number[] }
  /** Peers answer the same request differently, nobody can tell who is right, and no reply may be used uncompared. */
  'replies-disagree': { layer: number, peerIds: string[] }
  /** The swarm does not cover the model: what is missing, per layer. */
  'coverage-incomplete': { missing: Array<{ layer: number, experts: number[] }> }
  /** The peer's queue or a limit is full: try again after this time, or a replica. */
  busy: { retryAfterMs: number }
  /** The peer does not host an expert of the request. */
  'not-hosted': Record<string, never>
  /** Bytes that are not what the protocol says. */
  malformed: { reason: string }
  /** A frame, a batch or a manifest above the agreed limit. */
  'too-large': { limit: number }
  /** The peer serves another model, or one of another shape. */
  'wrong-model': { modelId: string }
  /** The peer and we do not share a wire form. */
  'wrong-wire': { wire: string }
  /** The peer's compute failed. */
  'compute-failed': Record<string, never>
  /** A manifest that must not be believed: signed by another, tampered with, expired or replayed. */
  'untrusted-manifest': { reason: string }
  /** No connection to any of these addresses. */
  unreachable: { addresses: string[] }
  /** Nobody live has these files of a bundle, after looking again and waiting; `path` is empty for the manifest itself. */
  'blocks-unavailable': { missing: Array<{ path: string, chunks: number }> }
  /** Bytes that do not have the digest that they were asked for by. */
  'wrong-hash': { sha256: string }
  'disk-full': { path: string, missingBytes: number }
  /** The disk failed in another way, or may not be written. */
  'disk-failed': { path: string }
  timeout: { afterMs: number }
  /** The connection or the stream to the peer ended. */
  'peer-gone': { peerId: string }
  /** Connected, but no peer there takes part in the DHT. */
  'no-peers': { addresses: string[] }
  'port-in-use': { address: string }
  /** An address that cannot be listened on for another reason than its port. */
  'cannot-listen': { address: string }
  'bad-address': { address: string }
  'bad-key-file': { file: string }
  /** A batch, an id or an option that our own caller got wrong. */
  'bad-argument': { argument: string }
  /** The operation was cancelled by its caller. */
  aborted: Record<string, never>
}

export type SwarmErrorCode = keyof SwarmErrorData

/**
 * `message` is one sentence for a person: the cause and the way out. `code` and `data` are for programs.
 * Only codes travel between peers: a remote peer's text never reaches a terminal.
 */
export class SwarmError<C extends SwarmErrorCode = SwarmErrorCode> extends Error {
  override readonly name = 'SwarmError'
  constructor (readonly code: C, message: string, readonly data: SwarmErrorData[C], options?: ErrorOptions) {
    super(message, options)
  }
}

/** `error` as a SwarmError of any code; undefined when it is something else. */
export function asSwarmError (error: unknown): SwarmError | undefined {
  return error instanceof SwarmError ? error as SwarmError : undefined
}

/** Whether `error` is a SwarmError of this code; narrows its data. */
export function isSwarmError<C extends SwarmErrorCode> (error: unknown, code: C): error is SwarmError<C> {
  return error instanceof SwarmError && error.code === code
}
