/** Every way in which a checkpoint, a bundle or a text file of a model can be unusable, and in which one cannot be made. */
export type ModelErrorCode =
  | 'not-found' // a path that does not exist or is not what it should be
  | 'malformed' // bytes or JSON that cannot be parsed: truncated, corrupt, of an unknown version
  | 'unsupported' // well-formed, but a key, value, dtype or architecture that we do not run
  | 'missing-tensor'
  | 'wrong-shape'
  | 'hash-mismatch' // a bundle file whose bytes are not those of its manifest
  | 'out-of-range' // a layer, expert or token id outside of the model
  | 'no-space' // a disk without room for what is to be written
  | 'no-memory' // less memory than the experts to be hosted take
  | 'busy' // a directory that another process writes into
  | 'denied' // a repository that wants a token or an accepted licence
  | 'unreachable' // a server that does not answer, or not with what was asked

/** `message` is one sentence for a person: the cause and the way out. `data` is for programs. */
export class ModelError extends Error {
  override readonly name = 'ModelError'
  constructor (readonly code: ModelErrorCode, message: string, readonly data: Record<string, unknown> = {}, options?: ErrorOptions) {
    super(message, options)
  }
}
