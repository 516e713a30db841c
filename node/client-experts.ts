import { join } from 'node:path'
import { type BlockEntry, type Bundle, formatBytes, ModelError } from '../model-tools/index.js'
import {
  connectBlocks, connectSwarm, createSwarmHost, type ExpertDispatcher, formatRanges, isSwarmError, planLayer, type SwarmConnection, type SwarmError, type SwarmHost
} from '../swarm/index.js'
import { openAudit } from './client-audit.js'
import { contentFiles, openBundleStore } from './bundle-store.js'
import { CountedDispatcher, ExpertUse } from './client/expert-use.js'
import { chooseLocalBlocks } from './client/local-choice.js'
import type { LocalCopy } from './client/local-copy.js'
import { LocalExperts, SplitDispatcher } from './client/local-experts.js'
import { LocalOnly } from './client/speculation/index.js'
import type { Closers } from './closers.js'
import { mappingPays } from './host/allocator.js'
import { ExpertHost, expertHostBytes, hostBaseBytes } from './host/expert-host.js'
import type { SwarmClientInit } from './swarm-client.js'

/** How long a client waits for peers that cover the model before it says what is missing, in milliseconds. */
const READY_TIMEOUT_MS = 20_000

/** How long it looks for peers before local memory fills the hole that they leave, in milliseconds. */
const SETTLE_MS = 3_000

/** Where a client's experts are. */
export interface ClientExperts {
  dispatcher: ExpertDispatcher
  /** Without what is not on this machine; absent where all is. */
  localOnly?: ExpertDispatcher
  /** Absent when all layers are local. */
  swarm?: SwarmConnection
  /** Computes what nobody live holds, where it can; absent when all layers are local. */
  copy?: LocalCopy
  /** Layers whose experts this process computes, all of them. */
  local: ReadonlySet<number>
  /** Of other layers, the experts that this process computes. */
  partlyLocal: Array<{ layer: number, experts: number[] }>
  /** Resolves when every other layer is within reach. */
  ready: () => Promise<void>
}

/** @throws ModelError 'no-memory', 'not-found', 'hash-mismatch'; SwarmError 'unreachable', 'coverage-incomplete', 'blocks-unavailable' */
export async function openClientExperts (bundle: Bundle, init: SwarmClientInit, threads: number, closers: Closers): Promise<ClientExperts> {
  const layers = [...bundle.config.layerTypes.keys()]
  const named = new Set(init.localLayers === 'all' ? layers : init.localLayers ?? [])
  const others = layers.filter(layer => !named.has(layer))
  const blocks = bundle.blocks.filter(({ layer }) => named.has(layer))
  if (others.length === 0) return { dispatcher: await localExperts(bundle, blocks, init, threads, closers), local: named, partlyLocal: [], ready: async () => {} }
  const budgetBytes = (init.localMemory ?? 0) - hostBaseBytes(threads) - expertHostBytes(bundle, blocks)
  if (init.localMemory !== undefined) requireOneBlock(bundle, others, budgetBytes, init.localMemory)
  const use = await openExpertUse(bundle, init, closers)
  const host = await createSwarmHost({ dht: 'client', bootstrap: init.bootstrap, swarmKey: init.swarmKey, signal: init.signal, onEvent: init.onEvent })
  closers.add(async () => { await host.stop() })
  const { hiddenSize, experts } = bundle.config
  const { copy, connection } = await openAudit(bundle, init, closers)
  const swarm = connectSwarm({
    host, modelId: bundle.id, hiddenSize, experts, layers: others, wire: init.wire, patienceMs: init.patienceMs, onEvent: init.onEvent, ...connection
  })
  closers.add(async () => { await swarm.stop() })

  let ready = async (): Promise<void> => { await swarm.ready({ signal: init.signal, timeoutMs: READY_TIMEOUT_MS }) }
  if (init.localMemory !== undefined) {
    blocks.push(...await chooseBlocks(bundle, others, budgetBytes, swarm, use, init.signal))
    ready = async () => {}
    await fetchMissing(bundle, blocks, host, init)
  }
  const held = heldBy(bundle, blocks)
  const local = new Set([...held].flatMap(([layer, mask]) => mask.every(one => one === 1) ? [layer] : []))
  const partlyLocal = [...held].filter(([layer]) => !local.has(layer)).map(([layer, mask]) => ({ layer, experts: marked(mask) }))
  const here = held.size === 0 ? undefined : await localExperts(bundle, blocks, init, threads, closers)
  const dispatcher = here === undefined ? swarm.dispatcher : new SplitDispatcher(held, here, swarm.dispatcher)
  return { dispatcher: use === undefined ? dispatcher : new CountedDispatcher(use, dispatcher), localOnly: new LocalOnly(local, here), swarm, copy, local, partlyLocal, ready }
}

/** Kept from run to run where there is a place for it. */
async function openExpertUse (bundle: Bundle, { stateDir }: SwarmClientInit, closers: Closers): Promise<ExpertUse | undefined> {
  if (stateDir === undefined) return undefined
  const file = join(stateDir, `expert-use-${bundle.id}.json`)
  const use = await ExpertUse.load(file, bundle.config.layerTypes.length, bundle.config.experts)
  // Without it the next choice is a little worse; that is no reason to fail after a text is done.
  closers.add(async () => { await use.save(file).catch(() => undefined) })
  return use
}

function heldBy (bundle: Bundle, blocks: BlockEntry[]): Map<number, Uint8Array> {
  const held = new Map<number, Uint8Array>()
  for (const { layer, firstExpert, experts } of blocks) {
    const mask = held.get(layer) ?? new Uint8Array(bundle.config.experts)
    held.set(layer, mask.fill(1, firstExpert, firstExpert + experts))
  }
  return held
}

function marked (mask: Uint8Array): number[] {
  return [...mask].flatMap((one, expert) => one === 1 ? [expert] : [])
}

/** @throws ModelError 'no-memory' when not even one block fits */
function requireOneBlock (bundle: Bundle, layers: number[], budgetBytes: number, memory: number): void {
  const smallest = Math.min(...bundle.blocks.filter(({ layer }) => layers.includes(layer)).map(block => expertHostBytes(bundle, [block])))
  if (smallest <= budgetBytes) return
  const neededBytes = smallest + memory - budgetBytes
  throw new ModelError('no-memory', `No block of experts fits into ${formatBytes(memory)} of local memory: give it ${formatBytes(neededBytes)}.`, { neededBytes })
}

/**
 * The blocks to compute here, once the swarm covers the rest. Nobody waits long for peers that nobody is: a hole that fits is filled
 * after a short look round. @throws SwarmError 'coverage-incomplete' where it does not fit
 */
async function chooseBlocks (bundle: Bundle, layers: number[], budgetBytes: number, swarm: SwarmConnection, use: ExpertUse | undefined, signal?: AbortSignal): Promise<BlockEntry[]> {
  let lacking: SwarmError<'coverage-incomplete'> | undefined
  for (const timeoutMs of [SETTLE_MS, READY_TIMEOUT_MS]) {
    lacking = await lackOf(swarm.ready({ signal, timeoutMs }))
    const missing = (lacking?.data.missing ?? []).map(({ layer, experts }) => ({ layer, experts: new Set(experts) }))
    const lacks = ({ layer, firstExpert, experts }: BlockEntry): boolean =>
      missing.some(hole => hole.layer === layer && [...hole.experts].some(expert => expert >= firstExpert && expert < firstExpert + experts))
    const candidates = layers.map(layer => ({
      layer,
      expectedMs: expectedMs(bundle, layer, swarm),
      blocks: bundle.blocks.filter(block => block.layer === layer).map(block => ({ file: block.file, bytes: expertHostBytes(bundle, [block]), uses: use?.of(block) ?? 0, lacking: lacks(block) }))
    }))
    const chosen = chooseLocalBlocks(candidates, bundle.config.topK, budgetBytes)
    if (candidates.every(({ blocks }) => blocks.every(block => !block.lacking || chosen.has(block.file)))) return bundle.blocks.filter(({ file }) => chosen.has(file))
  }
  throw lacking!
}

/** The error that says which experts nobody holds, where there are any. */
async function lackOf (ready: Promise<void>): Promise<SwarmError<'coverage-incomplete'> | undefined> {
  try {
    await ready
    return undefined
  } catch (error) {
    if (isSwarmError(error, 'coverage-incomplete')) return error
    throw error
  }
}

/** Until the swarm's answer to a token, of the experts that it has. */
function expectedMs (bundle: Bundle, layer: number, swarm: SwarmConnection): number {
  const peers = swarm.directory.live.flatMap(({ peerId, hosted, latency }) => {
    const holds = hosted.layer(layer)
    return holds === undefined ? [] : [{ peerId, holds, expectedMs: latency.expectedMs({ assignments: bundle.config.topK }) }]
  })
  return planLayer(Array.from({ length: bundle.config.experts }, (_, expert) => expert), peers, () => 0).thresholdMs
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
  const host = await ExpertHost.load({
    bundle, blocks, threads,
    inOwnThread: true,
    mapWeights: init.mapWeights ?? mappingPays(bundle),
    onLoad: ({ phase, done, total }) => { if (phase !== 'load') init.onProgress?.(phase === 'pack' ? 'pack-experts' : 'verify-experts', done, total) },
    signal: init.signal
  })
  closers.add(async () => { await host.stop() })
  return new LocalExperts(host)
}
