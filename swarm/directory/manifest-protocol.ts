import type { Libp2p, PeerId, PrivateKey } from '@libp2p/interface'
import * as lp from 'it-length-prefixed'
import { pipe } from 'it-pipe'
import * as limits from '../constants.js'
import { asSwarmError, SwarmError } from '../errors.js'
import { TokenBuckets } from '../token-buckets.js'
import { openManifest, sealManifest, type PeerManifest } from './manifest.js'

/*
 * /moeswarm/manifest/1: the dialer opens a stream, the peer sends its sealed manifest after its length as a varint, and both close.
 */

export interface ManifestServerInit {
  libp2p: Pick<Libp2p, 'handle' | 'unhandle'>
  privateKey: PrivateKey
  /** Manifests that one peer may ask for a second; its further streams are cut. */
  perSecondPerPeer: number
  /** Called for each of those. */
  onRefused: () => void
  /** What of the manifest does not change. */
  manifest: Omit<PeerManifest, 'blocks' | 'intended' | 'fetching' | 'load' | 'capacity' | 'sequence' | 'issuedAtMs'>
  /** Asked whenever a manifest is signed. */
  current: () => Pick<PeerManifest, 'blocks' | 'intended' | 'fetching' | 'load' | 'capacity'>
}

/** Answers the manifest protocol. Signs at most once per MANIFEST_RESEAL_MS, however often it is asked. */
export class ManifestServer {
  readonly #init: ManifestServerInit
  readonly #rate: TokenBuckets
  /** The clock makes it grow over restarts too. */
  #sequence = 0
  #sealed: Promise<Uint8Array> | undefined
  #sealedAt = 0

  constructor (init: ManifestServerInit) {
    this.#init = init
    this.#rate = new TokenBuckets({ perSecond: init.perSecondPerPeer, totalPerSecond: Infinity, burstSeconds: 1 })
  }

  async start (): Promise<void> {
    await this.#init.libp2p.handle(limits.MANIFEST_PROTOCOL, async (stream, connection) => {
      const now = performance.now()
      if (!this.#rate.take(this.#rate.bucket(connection.remotePeer.toString(), now), 1, now)) {
        this.#init.onRefused()
        return stream.abort(new RangeError('the manifest is asked for too often'))
      }
      stream.send(lp.encode.single(await this.#seal()))
      await stream.close({ signal: AbortSignal.timeout(limits.MANIFEST_FETCH_TIMEOUT_MS) })
    }, { maxInboundStreams: limits.MANIFEST_MAX_INBOUND_STREAMS })
  }

  async stop (): Promise<void> {
    await this.#init.libp2p.unhandle(limits.MANIFEST_PROTOCOL)
  }

  async #seal (): Promise<Uint8Array> {
    const now = Date.now()
    if (this.#sealed == null || now - this.#sealedAt >= limits.MANIFEST_RESEAL_MS) {
      this.#sequence = Math.max(this.#sequence + 1, now)
      this.#sealedAt = now
      this.#sealed = sealManifest({ ...this.#init.manifest, ...this.#init.current(), sequence: this.#sequence, issuedAtMs: now }, this.#init.privateKey)
    }
    return await this.#sealed
  }
}

/**
 * Asks a peer for its manifest and checks it. Dials when there is no connection.
 * Throws SwarmError 'unreachable', 'too-large', 'malformed', 'untrusted-manifest' or 'aborted'.
 */
export async function fetchManifest (libp2p: Pick<Libp2p, 'dialProtocol'>, peer: PeerId, minSequence: number, signal: AbortSignal): Promise<PeerManifest> {
  let sealed: Uint8Array
  try {
    const stream = await libp2p.dialProtocol(peer, limits.MANIFEST_PROTOCOL, { signal })
    const onAbort = (): void => { stream.abort(new SwarmError('aborted', 'The manifest came too late.', {})) }
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      sealed = await pipe(
        stream,
        source => lp.decode(source, { maxDataLength: limits.MANIFEST_MAX_BYTES }),
        async frames => {
          for await (const frame of frames) return frame.subarray()
          throw new SwarmError('malformed', 'A peer closed the stream before its manifest.', { reason: 'no manifest' })
        }
      )
      await stream.close({ signal })
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error('the stream broke'))
      throw error
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  } catch (error) {
    throw asSwarmError(error) ?? fetchError(error, peer, signal)
  }
  return await openManifest(sealed, { signer: peer, minSequence, nowMs: Date.now() })
}

function fetchError (error: unknown, peer: PeerId, signal: AbortSignal): SwarmError {
  if (error instanceof Error && error.name === 'InvalidDataLengthError') {
    return new SwarmError('too-large', `A peer manifest is longer than ${limits.MANIFEST_MAX_BYTES} bytes.`, { limit: limits.MANIFEST_MAX_BYTES }, { cause: error })
  }
  if (signal.aborted) return new SwarmError('aborted', 'The manifest came too late.', {}, { cause: error })
  const peerId = peer.toString()
  return new SwarmError('unreachable', `Peer ${peerId} does not answer.`, { addresses: [peerId] }, { cause: error })
}
