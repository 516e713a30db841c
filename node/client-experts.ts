import { type BlockEntry, type Bundle, formatBytes, ModelError } from '../model-tools/index.js'
import {
  connectBlocks, connectSwarm, createSwarmHost, type ExpertDispatcher, formatRanges, isSwarmError, planLayer, type SwarmConnection, type SwarmError, type SwarmHost
} from '../swarm/index.js'
import { contentFiles, openBundleStore } from './bundle-store.js'
import { chooseLocalLayers } from './client/local-choice.js'
import { LocalExperts, SplitDispatcher } from './client/local-experts.js'
import { LocalOnly } from './client/speculation/index.js'
import type { Closers } from './closers.js'
import { ExpertHost, expertHostBytes, hostBaseBytes } from './host/expert-host.js'
import type { SwarmClientInit } from './swarm-client.js'

/** How long a client waits for peers that cover the model before it says what is missing, in milliseconds. */
const READY_TIMEOUT_MS = 20_000

/** Where a client's experts are. */
export interface ClientExperts {
  dispatcher: ExpertDispatcher
  /** Without what is not on this machine; absent where all is. */
  localOnly?: ExpertDispatcher
  /** Absent when all layers are local. */
  swarm?: SwarmConnection
  /** Layers whose experts this process computes. */
  local: ReadonlySet<number>
  /** Resolves when every other layer is within reach. */
  ready: () => Promise<void>
}

/** @throws ModelError 'no-memory', 'not-found', 'hash-mismatch'; SwarmError 'unreachable', 'coverage-incomplete', 'blocks-unavailable' */
export async function openClientExperts (bundle: Bundle, init: SwarmClientInit, threads: number, closers: Closers): Promise<ClientExperts> {
  const layers = [...bundle.config.layerTypes.keys()]
  const named = new Set(init.localLayers === 'all' ? layers : init.localLayers ?? [])
  const others = layers.filter(layer => !named.has(layer))
  const namedBlocks = blocksOf(bundle, named)
  if (others.length === 0) return { dispatcher: await localExperts(bundle, namedBlocks, init, threads, closers), local: named, ready: async () => {} }
  const budgetBytes = (init.localMemory ?? 0) - hostBaseBytes(threads) - expertHostBytes(bundle, namedBlocks)
  if (init.localMemory !== undefined) requireOneLayer(bundle, others, budgetBytes, init.localMemory)
  const host = await createSwarmHost({ dht: 'client', bootstrap: init.bootstrap, swarmKey: init.swarmKey, signal: init.signal, onEvent: init.onEvent })
  closers.add(async () => { await host.stop() })
  const { hiddenSize, experts } = bundle.config
  const swarm = connectSwarm({ host, modelId: bundle.id, hiddenSize, experts, layers: others, wire: init.wire, traceId: init.traceId, onEvent: init.onEvent })
  closers.add(async () => { await swarm.stop() })

  let ready = async (): Promise<void> => { await swarm.ready({ signal: init.signal, timeoutMs: READY_TIMEOUT_MS }) }
  const local = new Set(named)
  if (init.localMemory !== undefined) {
    const lacking = await lackOf(ready)
    for (const layer of chooseWithin(bundle, others, budgetBytes, swarm)) local.add(layer)
    const uncovered = lacking?.data.missing.filter(({ layer }) => !local.has(layer)) ?? []
    if (lacking !== undefined && uncovered.length > 0) throw lacking
    ready = async () => {}
  }
  const blocks = blocksOf(bundle, local)
  if (init.localMemory !== undefined) await fetchMissing(bundle, blocks, host, init)
  if (local.size === 0) return { dispatcher: swarm.dispatcher, localOnly: new LocalOnly(local, undefined), swarm, local, ready }
  const here = await localExperts(bundle, blocks, init, threads, closers)
  return { dispatcher: new SplitDispatcher(local, here, swarm.dispatcher), localOnly: new LocalOnly(local, here), swarm, local, ready }
}

function blocksOf (bundle: Bundle, layers: ReadonlySet<number>): BlockEntry[] {
  return bundle.blocks.filter(({ layer }) => layers.has(layer))
}

/** The error that says which layers nobody holds, where there are any. */
async function lackOf (ready: () => Promise<void>): Promise<SwarmError<'coverage-incomplete'> | undefined> {
  try {
    await ready()
    return undefined
  } catch (error) {
    if (isSwarmError(error, 'coverage-incomplete')) return error
    throw error
  }
}

function layerBytes (bundle: Bundle, layer: number): number {
  return expertHostBytes(bundle, blocksOf(bundle, new Set([layer])))
}

/** @throws ModelError 'no-memory' when not even one layer fits */
function requireOneLayer (bundle: Bundle, layers: number[], budgetBytes: number, memory: number): void {
  const smallest = Math.min(...layers.map(layer => layerBytes(bundle, layer)))
  if (smallest <= budgetBytes) return
  const neededBytes = smallest + memory - budgetBytes
  throw new ModelError('no-memory', `No layer's experts fit into ${formatBytes(memory)} of local memory: give it ${formatBytes(neededBytes)}.`, { neededBytes })
}

function chooseWithin (bundle: Bundle, layers: number[], budgetBytes: number, swarm: SwarmConnection): number[] {
  const allExperts = Array.from({ length: bundle.config.experts }, (_, expert) => expert)
  const candidates = layers.map(layer => {
    const peers = swarm.directory.live.flatMap(({ peerId, hosted, latency }) => {
      const holds = hosted.layer(layer)
      return holds === undefined ? [] : [{ peerId, holds, expectedMs: latency.expectedMs({ assignments: bundle.config.topK }) }]
    })
    const plan = planLayer(allExperts, peers, () => 0)
    return { layer, bytes: layerBytes(bundle, layer), expectedMs: plan.missing.length > 0 ? Infinity : plan.thresholdMs }
  })
  return chooseLocalLayers(candidates, budgetBytes)
}

/** The chosen layers' files that a client's bundle lacks, from peers that give them away. */
async function fetchMissing (bundle: Bundle, blocks: BlockEntry[], host: SwarmHost, init: SwarmClientInit): Promise<void> {
  const missing: string[] = []
  for (const { file } of blocks) if (!await bundle.has(file)) missing.push(file)
  if (missing.length === 0) return
  const connection = connectBlocks({ host, modelId: bundle.id, onEvent: init.onEvent })
  try {
    await connection.fetchFiles(contentFiles(bundle, missing), await openBundleStore(bundle), {
      signal: init.signal, onProgress: ({ doneBytes, totalBytes }) => init.onProgress?.('fetch-blocks', doneBytes, totalBytes)
    })
  } catch (error) {
    if (!isSwarmError(error, 'blocks-unavailable')) throw error
    const layers = formatRanges([...new Set(blocks.map(({ layer }) => layer))])
    throw new ModelError('not-found',
      `This bundle lacks blocks of the layers ${layers} that shall be local, and no peer gives them away: get them with moeswarm convert or moeswarm fetch --part experts --layers ${layers}.`,
      { missing }, { cause: error })
  } finally {
    await connection.stop()
  }
}

async function localExperts (bundle: Bundle, blocks: BlockEntry[], init: SwarmClientInit, threads: number, closers: Closers): Promise<LocalExperts> {
  const host = await ExpertHost.load({ bundle, blocks, threads, onProgress: (done, total) => init.onProgress?.('verify-experts', done, total), signal: init.signal })
  closers.add(async () => { await host.stop() })
  return new LocalExperts(host)
}
