import type { OnSwarmEvent } from '../events.js'
import type { SwarmHost } from '../host.js'

/** A file of a bundle as its manifest describes it. The manifest's own sha256 is the model id, so all of this hangs from the model id. */
export interface ContentFile {
  /** Relative, with forward slashes. */
  path: string
  bytes: number
  /** 64 hex digits: what peers ask each other for. */
  sha256: string
  /** [ceil(bytes / BLOCK_CHUNK_BYTES)] sha256 of each piece of BLOCK_CHUNK_BYTES; the last one may be shorter. */
  chunks: readonly string[]
}

/** What a peer can serve of one model. Only complete files: a half-written one has no size here. */
export interface BlockSource {
  /** 64 hex digits, the sha256 of `manifest`. */
  readonly modelId: string
  readonly manifest: Uint8Array
  /** Size of the complete file of this digest; undefined when it is not here. May grow as files are completed. */
  bytesOf: (sha256: string) => number | undefined
  /** Bytes [offset, offset + length) of a file that `bytesOf` knows; the range lies within it. */
  read: (sha256: string, offset: number, length: number) => Promise<Uint8Array>
}

/** Where fetched files go. */
export interface BlockSink {
  /** Looks at what is there of a file. Throws SwarmError 'disk-failed'. */
  open: (file: ContentFile) => Promise<SinkFile>
  /** Told once, before the first write, how many bytes will be written. Throws SwarmError 'disk-full' when they cannot be. */
  expect: (bytes: number) => Promise<void>
}

/** One file on its way in. */
export interface SinkFile {
  /** [chunks], 1 where the chunk is there and has been verified. */
  readonly have: Uint8Array
  /** Stores a verified chunk. Throws SwarmError 'disk-full' or 'disk-failed'. */
  write: (chunk: number, bytes: Uint8Array) => Promise<void>
  /** All chunks are in: the file takes its name. Throws like `write`. */
  finish: () => Promise<void>
  /** Lets go of a file that is not finished; what it has stays for a later call. */
  close: () => Promise<void>
}

export interface FetchProgress {
  /** Of the files asked for, verified and stored, what was there before included. */
  doneBytes: number
  totalBytes: number
  /** Peers that are being read from. */
  peers: number
}

export interface FetchOptions {
  signal?: AbortSignal
}

export interface FetchFilesOptions extends FetchOptions {
  /** Called at the start and after every chunk. */
  onProgress?: (progress: FetchProgress) => void
  /** Called when a file is complete and has its name. */
  onFile?: (file: ContentFile) => void
}

export interface ConnectBlocksInit {
  host: SwarmHost
  /** 64 hex digits. */
  modelId: string
  /** How long a fetch waits without any progress for somebody to have what is missing. @default BLOCKS_PATIENCE_MS */
  patienceMs?: number
  /** In [0, 1): in which order files are begun, so that several fetchers soon have different ones for each other. @default Math.random */
  random?: () => number
  onEvent?: OnSwarmEvent
}

/** Fetches a model's files from the peers that have them. Made by `connectBlocks`. */
export interface BlocksConnection {
  /**
   * The bundle manifest's bytes; their sha256 is the model id.
   * Throws SwarmError 'blocks-unavailable' when nobody live has it within the patience, or 'aborted'.
   */
  fetchManifest: (options?: FetchOptions) => Promise<Uint8Array>
  /**
   * Fetches what `sink` lacks of the files, from all peers that have them at once. Chunks are verified before they are written; a peer that sends
   * a wrong one is left for as long as this connection lives. What has been written when it throws is not fetched again by a later call.
   * Throws SwarmError 'blocks-unavailable' naming files and missing chunks, 'disk-full', 'disk-failed', 'bad-argument' or 'aborted'.
   */
  fetchFiles: (files: readonly ContentFile[], sink: BlockSink, options?: FetchFilesOptions) => Promise<void>
  /** Ends what is being fetched, with 'aborted'; the host goes on. */
  stop: () => Promise<void>
}

export interface ServeBlocksInit {
  host: SwarmHost
  source: BlockSource
  /** Sent to one peer, at least BLOCKS_FRAME_BYTES. @default the host's limit */
  peerBytesPerSecond?: number
  /** Sent to all peers together, at least BLOCKS_FRAME_BYTES. @default the host's limit */
  totalBytesPerSecond?: number
  onEvent?: OnSwarmEvent
}

/** Made by `serveBlocks`. */
export interface ServingBlocks {
  /** Since the start. */
  readonly counters: Readonly<BlockCounters>
  /** Ends the streams and withdraws the announcement. The host goes on. */
  stop: () => Promise<void>
}

export interface BlockCounters {
  /** Reads answered in full. */
  reads: number
  /** Bytes of file contents sent. */
  sentBytes: number
  /** Streams and reads turned away. */
  refused: number
}

/** See file-store.ts. */
export interface FileStoreInit {
  /** The bundle's directory; created when it does not exist. */
  dir: string
  /** 64 hex digits. */
  modelId: string
  /** The bundle manifest's bytes. */
  manifest: Uint8Array
  /** All files that may be served; those that are there in full are. */
  files: readonly ContentFile[]
}
