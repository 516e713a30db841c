import { createHash } from 'node:crypto'
import * as limits from '../constants.js'
import { checkModelId } from '../dht/keys.js'
import { SwarmError } from '../errors.js'
import { checkFiles } from './content.js'
import type { BlocksConnection, BlockSink, ConnectBlocksInit, ContentFile, FetchFilesOptions, FetchOptions } from './interface.js'
import { Patience } from './patience.js'
import { BlockPeers, type BlockPeer } from './peers.js'
import { aborted, Transfer } from './transfer.js'

/** Fetches a model's files from the peers that have them. Returns at once. Throws SwarmError 'bad-argument'. */
export function connectBlocks (init: ConnectBlocksInit): BlocksConnection {
  const { host: { libp2p }, modelId, onEvent = () => {}, random = Math.random, patienceMs = limits.BLOCKS_PATIENCE_MS } = init
  checkModelId(modelId)
  const stopped = new AbortController()
  const refused = new Set<string>()
  const running = new Set<Promise<unknown>>()
  const tracked = async <T>(work: Promise<T>): Promise<T> => {
    const settled = work.catch(() => {})
    running.add(settled)
    return await work.finally(() => { running.delete(settled) })
  }
  const signalOf = ({ signal }: FetchOptions): AbortSignal => signal == null ? stopped.signal : AbortSignal.any([stopped.signal, signal])

  const transfer = async (files: readonly ContentFile[], sink: BlockSink, options: FetchFilesOptions): Promise<void> => {
    checkFiles(files)
    await new Transfer({
      libp2p, modelId, files: shuffled(files, random), sink, patienceMs, refused, signal: signalOf(options), options, onEvent
    }).run()
  }

  return {
    fetchManifest: async (options = {}) => await tracked(fetchManifest({ ...init, onEvent, patienceMs }, refused, signalOf(options))),
    fetchFiles: async (files, sink, options = {}) => { await tracked(transfer(files, sink, options)) },
    stop: async () => {
      stopped.abort()
      await Promise.all(running)
    }
  }
}

async function fetchManifest (
  { host: { libp2p }, modelId, onEvent, patienceMs }: ConnectBlocksInit & Required<Pick<ConnectBlocksInit, 'onEvent' | 'patienceMs'>>, refused: Set<string>, signal: AbortSignal
): Promise<Uint8Array> {
  let settle: (outcome: Uint8Array | SwarmError) => void = () => {}
  let reading: Promise<void> | undefined
  const attempt = (): void => {
    const peer = reading == null && !signal.aborted ? peers.open.find(({ holds, client }) => holds.has(modelId) && !client.closed) : undefined
    if (peer != null) {
      reading = read(peer).finally(() => {
        reading = undefined
        attempt()
      })
    }
    patience.underWay(reading == null ? 0 : 1)
  }
  const read = async (peer: BlockPeer): Promise<void> => {
    try {
      const manifest = await readManifest(peer, modelId, signal)
      if (createHash('sha256').update(manifest).digest('hex') === modelId) return settle(manifest)
      onEvent({ type: 'chunk-refused', peerId: peer.peerId, path: '', chunk: 0 })
      peers.refuse(peer, modelId)
    } catch {
      // It has gone, or has the manifest no longer: the next one.
      peer.holds.delete(modelId)
    }
  }
  const patience = new Patience(patienceMs, () => {
    settle(new SwarmError('blocks-unavailable',
      `For ${patienceMs / 1_000} s no live peer has given us the manifest of model ${modelId}: check the bootstrap address and the model id, or start a peer that has the model.`,
      { missing: [{ path: '', chunks: 1 }] }))
  })
  const fits = (_digest: string, bytes: number): boolean => bytes > 0 && bytes <= limits.BUNDLE_MANIFEST_MAX_BYTES
  const peers = new BlockPeers({ libp2p, modelId, wanted: () => [modelId], fits, refused, onChange: attempt, onEvent })
  const onAbort = (): void => { settle(aborted()) }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    const outcome = await new Promise<Uint8Array | SwarmError>((resolve, reject) => {
      settle = resolve
      if (signal.aborted) onAbort()
      attempt()
      peers.start().catch(reject)
    })
    if (outcome instanceof SwarmError) throw outcome
    return outcome
  } finally {
    signal.removeEventListener('abort', onAbort)
    patience.stop()
    await peers.stop()
    await reading
    patience.stop()
  }
}

async function readManifest ({ client, holds }: BlockPeer, modelId: string, signal: AbortSignal): Promise<Uint8Array> {
  const manifest = new Uint8Array(holds.get(modelId) ?? 0)
  for (let offset = 0; offset < manifest.byteLength; offset += limits.BLOCK_CHUNK_BYTES) {
    const length = Math.min(limits.BLOCK_CHUNK_BYTES, manifest.byteLength - offset)
    manifest.set((await client.read(modelId, offset, length, signal)).bytes, offset)
  }
  return manifest
}

/** Fisher and Yates. */
function shuffled<T> (items: readonly T[], random: () => number): T[] {
  const order = [...items]
  for (let at = order.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1))
    const item = order[at]
    order[at] = order[other]
    order[other] = item
  }
  return order
}
