import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import * as limits from '../constants.js'
import { Announcer } from '../directory/announce.js'
import { blocksKey, checkModelId } from '../dht/keys.js'
import { SwarmError } from '../errors.js'
import type { OnSwarmEvent } from '../events.js'
import { encodeBlocksError } from './codec.js'
import type { BlockCounters, BlockSource, ServeBlocksInit, ServingBlocks } from './interface.js'
import { RateLimit } from './rate-limit.js'
import { ServedBlocksStream } from './served-stream.js'

export interface BlockServiceInit {
  libp2p: Pick<Libp2p, 'handle' | 'unhandle'>
  source: BlockSource
  rateLimit: RateLimit
  onEvent: OnSwarmEvent
}

/** The serving side of the blocks protocol: BLOCKS_MAX_STREAMS fetchers at a time, the others are told to come back. */
export class BlockService {
  readonly counters: BlockCounters = { reads: 0, sentBytes: 0, refused: 0 }
  readonly #init: BlockServiceInit
  readonly #streams = new Set<ServedBlocksStream>()

  constructor (init: BlockServiceInit) {
    this.#init = init
  }

  async start (): Promise<void> {
    await this.#init.libp2p.handle(limits.BLOCKS_PROTOCOL, (stream, connection) => { this.#accept(stream, connection) }, {
      maxInboundStreams: limits.MAX_STREAMS_PER_CONNECTION
    })
  }

  async stop (): Promise<void> {
    await this.#init.libp2p.unhandle(limits.BLOCKS_PROTOCOL)
    const closing = AbortSignal.timeout(limits.HANDSHAKE_TIMEOUT_MS)
    await Promise.all([...this.#streams].map(async stream => { await stream.close(closing) }))
  }

  #accept (stream: Stream, connection: Connection): void {
    const { source, rateLimit, onEvent } = this.#init
    const peerId = connection.remotePeer.toString()
    if (this.#streams.size >= limits.BLOCKS_MAX_STREAMS) {
      this.counters.refused++
      onEvent({ type: 'request-refused', peerId, code: 'busy' })
      stream.send(encodeBlocksError(0, 'busy', limits.BLOCKS_BUSY_RETRY_MS))
      stream.close({ signal: AbortSignal.timeout(limits.HANDSHAKE_TIMEOUT_MS) }).catch((error: unknown) => {
        stream.abort(error instanceof Error ? error : new Error('the stream broke'))
      })
      return
    }
    const served = new ServedBlocksStream({
      source, rateLimit, stream, peerId, onEvent, counters: this.counters, onClose: () => { this.#streams.delete(served) }
    })
    this.#streams.add(served)
  }
}

/**
 * Gives a model's files to others: returns once the blocks protocol answers and the provider record is on the DHT. One model a host.
 * Throws SwarmError 'bad-argument'.
 */
export async function serveBlocks (init: ServeBlocksInit): Promise<ServingBlocks> {
  const { host: { libp2p, limits: peerLimits }, source, onEvent = () => {} } = init
  checkModelId(source.modelId)
  const rateLimit = new RateLimit({
    peerBytesPerSecond: checkRate('peerBytesPerSecond', init.peerBytesPerSecond ?? peerLimits.blockBytesPerSecondPerPeer),
    totalBytesPerSecond: checkRate('totalBytesPerSecond', init.totalBytesPerSecond ?? peerLimits.blockBytesPerSecond)
  })
  const service = new BlockService({ libp2p, source, rateLimit, onEvent })
  const announcer = new Announcer({ dht: libp2p.services.dht, keys: [blocksKey(source.modelId)], onEvent })
  await service.start()
  await announcer.start()
  return {
    counters: service.counters,
    stop: async () => { await Promise.all([announcer.stop(), service.stop()]) }
  }
}

/** A slower peer would look like one that has stalled. */
function checkRate (argument: string, bytesPerSecond: number): number {
  if (bytesPerSecond >= limits.BLOCKS_FRAME_BYTES) return bytesPerSecond
  throw new SwarmError('bad-argument', `${argument} must be at least ${limits.BLOCKS_FRAME_BYTES} bytes a second.`, { argument })
}
